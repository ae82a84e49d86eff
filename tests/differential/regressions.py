"""Scripts that once went another way through pgshim, as small as they could be made. New ones go to the end."""

REGRESSIONS: dict[str, str] = {
    "a FunctionCall and a Query in one batch with a COPY": """
        0 D S|nosuch  H  S  C S|s1  P |copy t0 to stdout  B |  E  F 154|0  S  Q select 'unfinished  Q select 1
    """,
    "a Query behind a COPY that is answered, and whose ReadyForQuery is not": """
        cut 60
        0 P |copy t0 to stdout  B |  E  P s2|select $1::bytea  H  P |select 2  B |  D P|  E  S  Q select 3; select 4
        0 Q insert into t0 values (11, 'eleven')
        0 P |copy t0 to stdout  B |  E  S  Q select 1; select 2
        0 Q copy t0 from stdin
        0 d 1\\tx\\n  c  Q select 5
    """,
    "a batch behind a Query that verifies a statement and may end its transaction": """
        0 P s1|select pg_sleep(0.002), $1::text  D S|s1  S
        0 P s2|abort  D S|s2  B |s2  E  S
        0 Q select 5  B |s1|slept  D P|  E |1  E  B |s2  D P|  E  S  Q select 1
    """,
    "an unnamed portal that there is not, with settings in force": """
        0 Q set work_mem = '3MB'
        0 P |select 1  B |  S  S
        0 E |1  S
        0 P s2|insert into d0 values ($1)  D P|  S
        0 P s2|select 1  E  S
    """,
    "the unnamed portal goes on where a setting was read back": """
        0 P |select set_config($1, $2, $3::bool)  B ||work_mem|3MB|f  E |1  E |1  S
        0 P |select current_setting('work_mem')  B |  E  E  S
        0 Q begin
        0 P |select generate_series(1, 5)  B |  E |2  P x|set work_mem = '5MB'  B p1|x  E p1  E |2  E  S
        0 P |begin isolation level read uncommitted  B |  E  S
        0 D P|  S
        0 Q commit
    """,
    "what cannot be executed twice": """
        0 P s2|deallocate prepare s2  B p1|s2  E p1|1  E p1|1  S
        0 P |set default_transaction_read_only = off  B |  E |5  E  S
        0 P s1|discard all  B p2|s1  E p2|1  E p2  S
        0 P |set work_mem = '5MB'  B |  E  D P|  S
    """,
    "modes of a transaction behind a DISCARD ALL that is not executed": """
        0 P s2|discard all  D S|s2  P |begin isolation level serializable read only deferrable  B |  D P|  E  C P|p2  S
        0 Q commit
    """,
    "SET LOCAL to the default outside of a block": """
        0 connect options=-cwork_mem%3D3MB
        0 Q set local work_mem to default
        0 Q set local application_name to default
        0 Q set local server_version = 1
        0 Q reset all; commit and no chain
        0 Q begin
        0 Q set local work_mem = '9MB'; set local work_mem to default; show work_mem
        0 Q commit
    """,
    "settings of a transaction by set_config": """
        0 P s2|select set_config('transaction_read_only', 'on', false)  B |s2  E  S
        0 Q select set_config('transaction_isolation', 'serializable', false), set_config('app.x', '5', false)
        0 P s3|select set_config($1, $2, $3)  B |s3|transaction_read_only|on|f  E  S
        0 Q create table x0(i int)
    """,
    "a failure behind a COPY that has swallowed a Sync": """
        0 Q create table x0 as select 1 as i; copy t0(i) from stdin with csv; create table x0 as select 1 as i
        0? d 5\\n  S  d 6\\n  H  c
        0 Q create table x0 as select 1 as i; copy t0(i) from stdin with csv; copy t0(i) from stdin with csv
        0? d 5\\n  S  c
        0? d 5\\n  S  c
        0 Q select 1
    """,
    "a Query amid a batch whose CALL fails, with settings in force": """
        0 P s2|call p_plain()
        0 P s1|select set_config($1, $2, $3::bool)  B p1|s1|app.x|v|f  E p1|1  S  B p1|s2  E p1|1  E p1  Q release a
        0 P |select concat($1, 'suffix'), length($1)|25  S
        0 Q insert into d0 values (5), (5)
    """,
    "a statement that changes in the batch in which it is described": """
        0 Q begin
        0 P s2|select * from t0 where s = $1|25  D S|s2  P |alter table t0 add column n int  B |  E  B |s2|one  E  S
        0 Q rollback
    """,
    "the modes of a block that follows a failed one": """
        0 connect options=-cdefault_transaction_read_only%3Don
        0 Q begin isolation level read committed
        0 E p1|1  S
        0 Q commit and chain
        0 Q create or replace view y0 as select 1 as one
        0 P |rollback and chain  B |  E  S
        0 Q create or replace view y0 as select 1 as one
        0 Q rollback
    """,
    "a Query drops the unnamed portal": """
        0 connect options=-cwork_mem%3D3MB
        0 P s1|begin isolation level serializable  B |s1  E |2  Q select i, s from t0 order by i, s
        0 D P|  S
        0 Q rollback
    """,
    "SET SESSION AUTHORIZATION DEFAULT resets the role": """
        0 Q set role r1; set session authorization default
        0 Q table t0 order by 1, 2
        0 Q set role r1
        0 P |reset session authorization  B |  E  S
        0 Q select current_user
    """,
}
