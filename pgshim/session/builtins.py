"""Which SELECTs provably have no effect: the functions that have none, and the words that call no function.

A text is judged by its tokens alone, so whatever is not known to be harmless counts as an effect. What tokens
cannot show is left out of account: a view, a row security policy, an operator, a cast, a domain or
`row.function` that calls a function of the user's, and a function of the user's that overloads or hides a
built-in one.
"""

from collections.abc import Sequence
from itertools import pairwise

from pgshim.session.tokens import Lexeme, TokenKind, unquote

FUNCTIONS = frozenset(
    b"""
    abbrev abs aclcontains acldefault aclexplode aclinsert aclremove acos acosd acosh age area array_agg
    array_append array_dims array_fill array_length array_lower array_ndims array_position array_positions
    array_prepend array_remove array_replace array_to_json array_to_string array_to_tsvector array_upper
    ascii asin asind asinh atan atan2 atan2d atand atanh avg bit bit_and bit_count bit_length bit_or
    bit_xor bool bool_and bool_or bound_box box bpchar btrim cardinality cash_words cbrt ceil ceiling
    center char char_length character_length chr cidr circle clock_timestamp col_description concat
    concat_ws convert convert_from convert_to corr cos cosd cosh cot cotd count covar_pop covar_samp
    cume_dist current_database current_schema current_schemas current_setting current_user date date_bin
    date_part date_trunc datemultirange daterange decode degrees dense_rank diagonal diameter div encode
    enum_first enum_last enum_range every exp extract factorial family first_value float4 float8 floor
    format format_type gcd gen_random_uuid generate_series generate_subscripts get_bit get_byte
    get_current_ts_config getdatabaseencoding has_any_column_privilege has_column_privilege
    has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
    has_language_privilege has_parameter_privilege has_schema_privilege has_sequence_privilege
    has_server_privilege has_table_privilege has_tablespace_privilege has_type_privilege hashtext
    hashtextextended height host hostmask inet_client_addr inet_client_port inet_merge inet_same_family
    inet_server_addr inet_server_port initcap int2 int4 int4multirange int4range int8 int8multirange
    int8range interval is_normalized isclosed isempty isfinite ishorizontal isopen isparallel isperp
    isvertical json_agg json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object
    json_object_agg json_object_keys json_populate_record json_populate_recordset json_strip_nulls
    json_to_record json_to_recordset json_to_tsvector json_typeof jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
    jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg
    jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz
    jsonb_path_query jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first
    jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_recordset
    jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset
    jsonb_to_tsvector jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm lead
    left length like line ln log10 lower lower_inc lower_inf lpad lseg ltrim macaddr macaddr8
    macaddr8_set7bit make_date make_interval make_time make_timestamp make_timestamptz makeaclitem masklen
    max md5 min min_scale mod mode money multirange mxid_age name netmask network normalize now npoints
    nth_value ntile num_nonnulls num_nulls numeric nummultirange numnode numrange obj_description
    octet_length oid oidvectortypes overlaps overlay parse_ident path percent_rank percentile_cont
    percentile_disc pg_available_extension_versions pg_available_extensions pg_backend_pid
    pg_blocking_pids pg_char_to_encoding pg_client_encoding pg_collation_for pg_collation_is_visible
    pg_column_compression pg_column_is_updatable pg_column_size pg_conf_load_time pg_config
    pg_current_snapshot pg_cursor pg_database_size pg_describe_object pg_encoding_max_length
    pg_encoding_to_char pg_function_is_visible pg_get_catalog_foreign_keys pg_get_constraintdef
    pg_get_expr pg_get_function_arg_default pg_get_function_arguments pg_get_function_identity_arguments
    pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef pg_get_keywords
    pg_get_object_address pg_get_partition_constraintdef pg_get_partkeydef pg_get_replica_identity_index
    pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef pg_get_statisticsobjdef_columns
    pg_get_statisticsobjdef_expressions pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role
    pg_identify_object pg_identify_object_as_address pg_index_column_has_property pg_index_has_property
    pg_indexam_has_property pg_indexam_progress_phasename pg_indexes_size pg_is_in_recovery
    pg_is_other_temp_schema pg_listening_channels pg_lsn pg_my_temp_schema pg_opclass_is_visible
    pg_operator_is_visible pg_opfamily_is_visible pg_partition_ancestors pg_partition_root
    pg_partition_tree pg_postmaster_start_time pg_prepared_statement pg_relation_filenode
    pg_relation_filepath pg_relation_is_publishable pg_relation_is_updatable pg_relation_size
    pg_sequence_parameters pg_settings_get_flags pg_show_all_settings pg_size_bytes pg_size_pretty
    pg_sleep pg_sleep_for pg_sleep_until pg_snapshot_xip pg_snapshot_xmax pg_snapshot_xmin
    pg_statistics_obj_is_visible pg_table_is_visible pg_table_size pg_tablespace_databases
    pg_tablespace_location pg_tablespace_size pg_timezone_abbrevs pg_timezone_names pg_total_relation_size
    pg_trigger_depth pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
    pg_ts_template_is_visible pg_type_is_visible pg_typeof pg_visible_in_snapshot pg_wal_lsn_diff
    pg_walfile_name pg_walfile_name_offset phraseto_tsquery pi plainto_tsquery point polygon position pow
    power querytree quote_ident quote_literal quote_nullable radians radius random range_agg
    range_intersect_agg range_merge rank regclass regexp_count regexp_instr regexp_like regexp_match
    regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx
    regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace
    reverse right round row_number row_security_active row_to_json rpad rtrim scale session_user set_bit
    set_byte set_masklen setweight sha224 sha256 sha384 sha512 shobj_description sign similar_to_escape
    sin sind sinh slope split_part sqrt starts_with statement_timestamp stddev stddev_pop stddev_samp
    string_agg string_to_array string_to_table strip strpos substr substring sum tan tand tanh text time
    timeofday timestamp timestamptz timetz timezone to_ascii to_char to_date to_hex to_json to_jsonb
    to_number to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc
    to_regprocedure to_regrole to_regtype to_timestamp to_tsquery to_tsvector transaction_timestamp
    translate trim_array trim_scale trunc ts_debug ts_delete ts_filter ts_headline ts_lexize ts_parse
    ts_rank ts_rank_cd ts_token_type tsmultirange tsquery_phrase tsrange tstzmultirange tstzrange
    tsvector_to_array unistr unnest upper upper_inc upper_inf var_pop var_samp varbit varchar variance
    version websearch_to_tsquery width width_bucket xid xml xml_is_well_formed xml_is_well_formed_content
    xml_is_well_formed_document xmlagg xmlcomment xmlexists xmlvalidate xpath xpath_exists
    """.split()
)
"""Built-in functions without effects.

Made from `pg_proc` of PostgreSQL 15: the names in schema pg_catalog of which every overload is immutable or
stable and none is SECURITY DEFINER, and at least one can be called from SQL (no `internal` or `cstring`
argument, no trigger or handler), less

- what assigns a transaction id (`txid_*`, `pg_current_xact_id*`) or runs a query given as text (`*_to_xml*`);
- what serves operators, indexes, aggregates and types (known by its description), and `pg_stat_*`;
- `log` and `broadcast`, names that applications give to functions that do something;

and, added by hand, `hashtext*`, `starts_with` and the volatile ones that change nothing: clocks, `random`,
`gen_random_uuid`, `pg_sleep*`, sizes, `pg_is_in_recovery`, `pg_blocking_pids`, `pg_partition_*`. (`setseed`,
`nextval`, `set_config`, `pg_notify`, advisory locks and large objects are volatile, so they never were on the
list.)
"""

RESERVED_WORDS = frozenset(
    b"""
    all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
    current_catalog current_date current_role current_time current_timestamp current_user default deferrable
    desc distinct do else end except false fetch for foreign from grant group having in initially intersect
    into lateral leading limit localtime localtimestamp not null offset on only or order placing primary
    references returning select session_user some symmetric table then to trailing true union unique user
    using variadic when where window with
    """.split()
)
"""Keywords that name nothing unless quoted (`pg_get_keywords()`, catcode R)."""

FUNCTION_OR_TYPE_WORDS = frozenset(
    b"""
    authorization binary collation concurrently cross current_schema freeze full ilike inner is isnull join
    left like natural notnull outer overlaps right similar tablesample verbose
    """.split()
)
"""Keywords that may name a function or a type, but no table, column or statement (catcode T)."""

# Keywords that cannot name a function (catcode C). Not TREAT, which calls the function named after the type.
_SYNTAX_WORDS = RESERVED_WORDS | frozenset(
    b"""
    between bigint bit boolean char character coalesce dec decimal exists extract float greatest grouping
    inout int integer interval least national nchar none normalize nullif numeric out overlay position
    precision real row setof smallint substring time timestamp trim values varchar xmlattributes xmlconcat
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ilike
    """.split()
)

# Unreserved words that are syntax, and no function, behind the word that goes with them.
_PHRASES = frozenset(
    {
        (b"order", b"by"),
        (b"group", b"by"),
        (b"partition", b"by"),
        (b"grouping", b"sets"),
        (b"character", b"varying"),
        (b"char", b"varying"),
        (b"nchar", b"varying"),
        (b"bit", b"varying"),
        (b"fetch", b"first"),
        (b"fetch", b"next"),
        (b"time", b"zone"),
    }
)

# Behind these a name with a parenthesis is an alias with its columns, a type with its modifiers, or a
# sampling method.
_BEFORE_NO_CALL = frozenset({b"as", b"with", b"recursive", b"tablesample", b"::", b")"})
_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED, TokenKind.UNICODE_QUOTED})
_EFFECTS = frozenset({b"insert", b"update", b"delete", b"merge", b"into"})
_LOCK_STRENGTHS = frozenset({b"share", b"key", b"no", b"update"})
_PG_CATALOG = frozenset({b"pg_catalog", b'"pg_catalog"'})
_QUERY_WORDS = frozenset({b"select", b"with", b"table"})


def has_no_effect(query: Sequence[Lexeme]) -> bool:
    """Whether a statement, known to be a SELECT, VALUES or TABLE, provably changes and locks nothing."""
    words = [lexeme[1] for lexeme in query]
    if not _EFFECTS.isdisjoint(words):
        return False
    if any(word == b"for" and strength in _LOCK_STRENGTHS for word, strength in pairwise(words)):
        return False
    if b"distinct" in words:
        _mark_distinct_on(words)
    opened = [index for index, word in enumerate(words) if word == b"("]
    return all(_is_harmless(words, index - 1, query[index - 1][0]) for index in opened if index)


def _mark_distinct_on(words: list[bytes]) -> None:
    """Renames the parenthesis that closes DISTINCT ON (a): unlike any other, it is followed by an expression."""
    is_distinct_on: list[bool] = []
    for index, word in enumerate(words):
        if word == b"(":
            is_distinct_on.append(words[max(0, index - 2) : index] == [b"distinct", b"on"])
        elif word == b")" and is_distinct_on and is_distinct_on.pop():
            words[index] = b"distinct on"


def _at(words: Sequence[bytes], index: int) -> bytes:
    return words[index] if 0 <= index < len(words) else b""


def _is_harmless(words: Sequence[bytes], index: int, kind: TokenKind) -> bool:
    """Whether what stands before a parenthesis calls nothing, or a function without effects."""
    if kind not in _NAMES:
        return True
    word, before = words[index], _at(words, index - 1)
    if before == b".":
        is_built_in = _at(words, index - 2) in _PG_CATALOG and _at(words, index - 3) != b"."
        return is_built_in and _names_function(kind, word)
    if before in _BEFORE_NO_CALL or _names_function(kind, word):
        return True
    if kind is not TokenKind.WORD:
        return False
    inside = _at(words, index + 2)
    if word == b"operator":  # OPERATOR(pg_catalog.+)
        return inside in _PG_CATALOG and _at(words, index + 3) == b"."
    if word in (b"rollup", b"cube"):
        return before == b"by" and _at(words, index - 2) == b"group"
    # No argument of a function begins with one of the query words: f((SELECT 1)) has parentheses of its own.
    return word in _SYNTAX_WORDS or (before, word) in _PHRASES or inside in _QUERY_WORDS


def _names_function(kind: TokenKind, word: bytes) -> bool:
    if kind is TokenKind.QUOTED:
        word = unquote(word)
    return word in FUNCTIONS
