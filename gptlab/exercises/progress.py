"""What the reader has done, in one notebook or over all of them, as a table of signs."""

from typing import Any

from gptlab import notebook
from gptlab.exercises import registry, store
from gptlab.exercises.card import Card
from gptlab.html import BLACK, DONE, GREY, HERE, WHITE, element, escape, row, scrolling, table

_DONE, _STARTED, _NOT = "●", "◐", "○"
_WORDS = {_DONE: "done", _STARTED: "started", _NOT: "not yet"}
_GROUNDS = {_DONE: DONE, _STARTED: HERE, _NOT: WHITE}
_KEY = "  ".join(f"{sign} {word}" for sign, word in _WORDS.items())


class Progress:
    """Every exercise with a sign: ● done, ◐ started, ○ not yet.

    Attributes:
        topic: of the one notebook that is shown; None for all.
        rows: for each notebook its name and its exercises, as (sign, number, title).
        notices: what the reader should know about the file with the progress.
    """

    def __init__(self, topic: str | None = None):
        known = store.read()["exercises"]
        self.topic = topic
        self.rows: list[tuple[str, list[tuple[str, str, str]]]] = []
        for shown in registry.topics() if topic is None else [topic]:
            cells = []
            for exercise in registry.exercises(shown):
                entry = known.get(exercise.id)
                sign = _NOT if entry is None else _DONE if entry.get("passed") else _STARTED
                cells.append((sign, exercise.id.rpartition(".")[2], exercise.title))
            self.rows.append((f"{notebook(shown).number:02} {shown}", cells))
        self.notices = store.notices()

    @staticmethod
    def _count(cells: list[tuple[str, str, str]]) -> str:
        return f"{sum(sign == _DONE for sign, *_ in cells)} of {len(cells)}"

    def _one(self) -> list[tuple[str, str, str, str]]:
        """The lines about one notebook: sign, word, id with title, and how long it takes."""
        ((_, cells),) = self.rows
        declared = registry.exercises(self.topic)
        return [
            (sign, _WORDS[sign], f"{exercise.id} {title}", f"{exercise.kind}, {exercise.minutes} minutes")
            for (sign, _, title), exercise in zip(cells, declared, strict=True)
        ]

    def __repr__(self) -> str:
        if self.topic is not None:
            ((name, cells),) = self.rows
            lines = [f"{name}: {self._count(cells)} done"]
            lines += [f"{sign} {word:<7}  {title} ({how})" for sign, word, title, how in self._one()]
            return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])
        lines, width = [_KEY], max((len(name) for name, _ in self.rows), default=0)
        for name, cells in self.rows:
            signs = "  ".join(f"{sign} {number}" for sign, number, _ in cells)
            lines.append(f"{name.ljust(width)}  {self._count(cells).rjust(8)}  {signs}")
        everything = [cell for _, cells in self.rows for cell in cells]
        lines.append(f"{'all'.ljust(width)}  {self._count(everything).rjust(8)}")
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def _repr_html_(self) -> str:
        style = f"padding:3px 8px;font-size:14px;color:{BLACK};text-align:left;white-space:nowrap"
        if self.topic is not None:
            return self._one_as_html(style)
        head = row(element("th", name, style, scope="col") for name in ("notebook", "done", "exercises"))
        body = []
        for name, cells in self.rows:
            signs = " ".join(self._sign(name, *cell) for cell in cells)
            body.append(
                row([
                    element("th", name, style, scope="row"),
                    element("td", self._count(cells), style),
                    element("td", signs, f"{style};white-space:normal"),
                ])
            )  # fmt: skip
        notes = "".join(element("div", f"note: {escape(notice)}") for notice in self.notices)
        return scrolling(table(body, [head], caption=_KEY) + notes)

    def _one_as_html(self, style: str) -> str:
        ((name, cells),) = self.rows
        head = row(element("th", word, style, scope="col") for word in ("", "exercise", "kind and time"))
        body = [
            row([
                element("td", f"{sign} {word}", f"{style};background-color:{_GROUNDS[sign]}"),
                element("th", escape(title), f"{style};font-weight:normal", scope="row"),
                element("td", how, style),
            ])
            for sign, word, title, how in self._one()
        ]  # fmt: skip
        notes = "".join(element("div", f"note: {escape(notice)}") for notice in self.notices)
        return scrolling(table(body, [head], caption=f"{name}: {self._count(cells)} done") + notes)

    @staticmethod
    def _sign(notebook_name: str, sign: str, number: str, title: str) -> str:
        style = f"background-color:{_GROUNDS[sign]};border:1px solid {GREY};border-radius:3px;padding:1px 5px"
        says = f"{title}: {_WORDS[sign]}"
        label = f"{notebook_name} {number} {says}"
        return element("span", f"{sign} {number}", style, title=says, role="img", aria_label=label)


def tally() -> dict[str, str]:
    """For each topic, in a few words, what the reader has done: for the map at the end of the course.

    >>> "of 8 exercises" in tally()["attention"]
    True
    """
    try:
        known = store.read()
        return {topic: _in_words(topic, known) for topic in registry.topics()}
    except Exception:  # nothing here raises: without figures the map is a map still
        return {}


def _in_words(topic: str, known: dict[str, dict[str, dict[str, Any]]]) -> str:
    exercises = registry.exercises(topic)
    solved = sum(bool(known["exercises"].get(exercise.id, {}).get("passed")) for exercise in exercises)
    guesses = [entry for id, entry in known["predictions"].items() if registry.topic_of(id) == topic]
    right = sum(not entry.get("missed") for entry in guesses)
    guessed = f"{right} of {len(guesses)} guesses right at once" if guesses else "no guesses yet"
    return f"{solved} of {len(exercises)} exercises, {guessed}"


def progress(topic: str | int | None = None) -> Progress | Card:
    """What is done: of one notebook, each exercise on a line of its own; without one, over all notebooks.

    Args:
        topic: of the notebook, or its name or number.

    >>> print(repr(progress("attention")).splitlines()[2][9:])
      attention.2 Queries meet keys (core, 10 minutes)
    """
    try:
        if topic is None:
            return Progress()
        if named := registry.topic_of(topic):
            return Progress(named)
        return Card(
            f"There is no notebook {str(topic)!r}",
            foot=f"Give one of {', '.join(registry.topics())}; progress() shows them all.",
        )
    except Exception as error:
        return Card(f"Your progress cannot be shown ({type(error).__name__})")
