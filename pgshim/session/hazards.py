import re
from dataclasses import dataclass
from enum import StrEnum
class Feature(StrEnum):
    LISTEN="listen"; ADVISORY_LOCK="advisory-locks"; TEMPORARY="temp-tables"; WITH_HOLD="with-hold"; PREPARE="sql-prepare"; SEQUENCE_VALUE="currval"; LOAD="load"; DBLINK="dblink"; SEED="setseed"; PG_SETTINGS="update-pg-settings"; SIMILARITY_LIMIT="set-limit"; REPLICATION_ORIGIN="replication-origin"; DO_SETTING="do-settings"; COMPUTED_SETTING="computed-settings"; NO_BLOCK="no-block"; DO_TRANSACTION="do-commit"; FUNCTION_CALL="function-call"
@dataclass(frozen=True, slots=True)
class Hazard:
    feature: Feature
    what: str
    needs_nextval: bool = False
    is_reference: bool = False
OIDS: dict = {}
def find_hazards(*a): return ()
def refuses_block(statement): return statement[0][1] == b"vacuum"
def do_ends_transaction(*a): return False
HAZARD_WORDS = re.compile(rb"vacuum|listen", re.I)
