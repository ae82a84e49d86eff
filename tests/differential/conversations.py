"""Legal conversations of one to four clients.

The generator keeps a light picture of each client: the statements that it has probably prepared, and how many values
they take. It is no model of a server: what is really in force, whether a COPY has begun and who holds a server of the
pool is asked of PostgreSQL while the script is played (`arena`).
"""

from __future__ import annotations

import re
from random import Random

from hypothesis import strategies as st

from tests.differential import statements as say
from tests.differential.choice import Choice
from tests.differential.script import WHOLE, Script, Step
from tests.differential.settings import LOGINS, probe, setting_statement

RETURNING = ("select", "values", "table", "with", "show", "fetch", "explain")
NAMES = ["s1", "s2", "s1", "s2", ""]
PORTALS = ["", "", "", "p1", "p2"]

#: What a conversation is about: how often each kind of thing is said.
THEMES: list[dict[str, int]] = [
    {"query": 6, "effect": 4, "error": 2, "control": 6, "define": 1, "cursor": 1, "session": 1, "empty": 1},
    {"query": 4, "effect": 2, "error": 1, "control": 5, "define": 1, "session": 1, "setting": 8},
    {"query": 4, "effect": 2, "error": 1, "control": 3, "define": 5, "session": 1},
    {"query": 4, "effect": 3, "error": 3, "control": 6, "define": 2, "cursor": 2, "session": 2, "setting": 3},
]


class Speaker:
    """One client: what it says next."""

    def __init__(self, choice: Choice, client: int, theme: dict[str, int]) -> None:
        self.choice = choice
        self.client = client
        self.theme = theme
        #: Values that fit each statement that has probably been prepared.
        self.prepared: dict[str, list[str]] = {}

    def statement(self) -> str:
        """Any one statement without parameters."""
        tables = {
            "query": say.QUERIES,
            "effect": say.EFFECTS,
            "error": say.ERRORS,
            "control": say.TRANSACTIONS,
            "define": say.DEFINITIONS,
            "cursor": say.CURSORS,
            "session": say.SESSION,
            "empty": say.EMPTY,
        }
        kind = self.choice.weighted(self.theme)
        if kind == "setting":
            return setting_statement(self.choice) if self.choice.chance(70) else probe(self.choice)
        return self.choice.of(tables[kind])

    def single(self) -> str:
        """One statement that may stand in a Parse."""
        text = self.statement()
        return text if ";" not in text or text.startswith(("do ", "select '", "select /*", "set ")) else "select 7"

    # The extended-query protocol, without the Sync.

    def prepare(self, name: str) -> str:
        if self.choice.chance(50):
            text, types, values = self.choice.of(say.PARAMETERISED)
        else:
            text, types, values = self.single(), "", [""]
        self.prepared[name] = values
        # A driver asks what columns there will be, and may count on it; one that has not asked cannot notice a change.
        is_asked = text.startswith(RETURNING) or "returning" in text or self.choice.chance(50)
        return f"P {name}|{text}{'|' * bool(types)}{types}" + (f"  D S|{name}" if is_asked else "")

    def use(self, name: str) -> str:
        values = self.choice.of(self.prepared.get(name, [""]))
        portal = self.choice.of(PORTALS)
        bind = f"B {portal}|{name}" + (f"|{values}" if values else "")
        limit = self.choice.of(["", "", "", "|1", "|2", "|5"])
        again = f"  E {portal}{self.choice.of(['', '|1'])}" if limit and self.choice.chance(50) else ""
        return f"{bind}{self.choice.maybe(f'  D P|{portal}', 40)}  E {portal}{limit}{again}"

    def one_off(self) -> str:
        if self.choice.chance(40):
            text, types, values = self.choice.of(say.PARAMETERISED)
            chosen = f"|{self.choice.of(values)}"
        else:
            text, types, chosen = self.single(), "", ""
        return f"P |{text}{'|' * bool(types)}{types}  B |{chosen}{self.choice.maybe('  D P|', 50)}  E "

    def unit(self) -> str:
        name = self.choice.of(NAMES)
        match self.choice.weighted({"prepare": 5, "use": 8, "one off": 6, "odd": 3, "close": 2, "call": 1, "copy": 1}):
            case "prepare":
                closed = f"C S|{name}  " if name and name in self.prepared and self.choice.chance(70) else ""
                return closed + self.prepare(name)
            case "use":
                made = "" if name in self.prepared or self.choice.chance(15) else self.prepare(name) + "  "
                return made + self.use(name)
            case "one off":
                return self.one_off()
            case "close":
                return f"C S|{name}" if self.choice.chance(70) else f"C P|{self.choice.of(PORTALS)}"
            case "call":
                return self.choice.of(say.FUNCTION_CALLS)
            case "copy":
                return f"P |{self.choice.of(say.COPIES_OUT)}  B |  E "
        portal = self.choice.of(PORTALS)
        return self.choice.of(
            [f"E {portal}|1", f"D P|{portal}", f"D S|{name}", "H", "H", *("B |nosuch  E ", "D S|nosuch", "C S|nosuch")]
        )

    def batch(self) -> str:
        units = [self.unit() for _ in range(self.choice.of([1, 1, 2, 3]))]
        return "  ".join([*units, self.choice.of(["S", "S", "S", "S", "S", "S", "H", "S  S", "H  S"])])

    def query(self) -> str:
        count = self.choice.of([1, 1, 1, 1, 1, 2, 3])
        return _query([self.statement() for _ in range(count)])

    def burst(self) -> list[str]:
        """Messages that are written at once; if a COPY may begin with them, its data, which is written when it has."""
        kind = self.choice.weighted({"batch": 12, "query": 8, "copy out": 1, "copy in": 1, "bulky": 1, "pipeline": 4})
        match kind:
            case "batch":
                return [self.batch()]
            case "query":
                return [self.query()]
            case "copy out":
                return [f"Q {self.choice.of(say.COPIES_OUT)}"]
            case "bulky":
                text = self.choice.of(say.BULKY)
                return [text if text.startswith("Q") else f"{text}  S"]
            case "pipeline":
                return ["  ".join(self.choice.of([self.batch, self.query])() for _ in range(self.choice.number(2, 4)))]
        return self.copy_in()

    def copy_in(self) -> list[str]:
        text, ends = self.choice.of(say.COPIES_IN)
        end = self.choice.of(ends)
        match self.choice.weighted({"query": 3, "at once": 2, "extended": 3, "among others": 2}):
            case "query":
                return [f"Q {text}", end]
            case "at once":
                return [f"Q {text}  {end}"]
            case "extended":
                ahead = self.unit() + "  " if self.choice.chance(30) else ""
                return [f"{ahead}P |{text}  B |  E   {self.choice.of(['H', 'S'])}", f"{end}  S"]
        return [_query([self.statement(), text, self.statement()]), end]


def _query(statements: list[str]) -> str:
    """A Query of these. A comment ends with its line; two blanks would end the message in the notation."""
    text = re.sub(r"(-- \w+);", "\\1\n;", "; ".join(statements))
    return re.sub(" {2,}", " ", f"Q {text}")


def conversation(random: Random) -> Script:
    """A conversation that this source of randomness leads to."""
    choice = Choice(random)
    theme = choice.of(THEMES)
    speakers = [Speaker(choice, client, theme) for client in range(choice.of([1, 1, 1, 2, 2, 3, 4]))]
    logins = {s.client: choice.of(LOGINS) for s in speakers if "setting" in theme and choice.chance(25)}
    #: Clients that read only at the end, or when they have to.
    late = {speaker.client for speaker in speakers if choice.chance(5)}
    steps: list[Step] = []
    for _ in range(choice.number(2, 14)):
        speaker = choice.of(speakers)
        first, *data = (burst.replace("{c}", str(speaker.client)) for burst in speaker.burst())
        is_unread = not data and (speaker.client in late or choice.chance(8))
        steps.append(Step.of(speaker.client, first, "!" if is_unread else ""))
        steps += [Step.of(speaker.client, burst, "?") for burst in data]
    cut = choice.of([WHOLE, WHOLE, WHOLE, 1000, 60, 7, 1])
    return Script(tuple(steps), logins, cut, is_serial=choice.chance(15), is_eager=choice.chance(30))


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Conversations, for hypothesis.

    It gives a source of randomness, not each choice: choosing by itself it says the same few sentences again and again,
    and `shrinking` knows better than it which words can go.
    """
    return conversation(draw(st.randoms(use_true_random=True)))
