'''Exercises that know the usual mistakes; predictions, questions, and what the reader has done.

**In a notebook**, each as the last line of a cell:

    check("bpe.3", my_function)          # runs my_function on fresh inputs, and names the most likely mistake
    hint("bpe.3")                        # one of three hints; again for the next
    solution("bpe.3")                    # the source of one solution, after an attempt or when asked twice
    compare("bpe.3", my_function)        # passing code beside the course's
    find("bpe.3")                        # the exercise itself; a notebook shows its text
    progress("bpe")                      # what is done in one notebook; progress() shows all of them
    tally()                              # the same in a few words for each topic, for `pictures.course_map`

    predict("attention.b", ..., scores.shape)   # a guess in place of the dots, and what came out
    predict("attention.b", (2, 7, 7))           # or in two steps: the guess first,
    predict("attention.b", truth=scores.shape)  # and later what it is
    predict("tokens.a", "c")                    # where the declaration knows the answer, the guess alone

    quiz("attention")                    # three questions about earlier notebooks
    quiz("attention", 1, "b")            # an answer to the first; or all at once, quiz("attention", ["b", ..., "a"])
    recap("attention")                   # what was missed

Nothing here raises, whatever it is given, and dots in place of an answer are no answer: a notebook of untouched stubs
runs to its end.

**To add an exercise**, write it into the list `EXERCISES` of its topic's file, here `attention.py`; a new file is found
by its name. The tests in `tests/test_exercises.py` then hold it to the rules: the solution passes, each mistake is
rejected and named, no two mistakes do the same on its inputs. A complete example:

>>> def vowels(text: str) -> int:
...     """How many vowels a text has."""
...     return sum(letter in "aeiou" for letter in text)
>>> def inputs(rng):
...     yield from [("",), ("a",), ("xyz",), ("banana",)]          # small ones first: the smallest failing one is shown
...     for length in range(2, 8):
...         yield ("".join(rng.choice("abcdefghiou") for _ in range(length)),)
>>> exercise = Exercise(
...     id="vowels.1", title="Count the vowels", kind="warm-up", minutes=5, difficulty=1,
...     prompt="Count the vowels a, e, i, o, u in a text. Input: `text`, a `str`. Result: an `int`.",
...     signature="def vowels(text: str) -> int", inputs=inputs, solution=vowels,
...     mistakes=[
...         Mistake("every vowel is counted once", lambda text: len(set(text) & set("aeiou")),
...                 "A vowel that stands twice counts twice: a set forgets how often."),
...         Mistake("consonants are counted", lambda text: sum(letter not in "aeiou" for letter in text),
...                 "You count the letters that are not vowels."),
...         Mistake("all letters are counted", len, "You count every letter."),
...     ],
...     hints=["Go through the letters one by one.", "`letter in 'aeiou'` is True or False.",
...            "`sum` counts the True ones."],
... )
>>> judge(exercise, vowels).state
'passed'
>>> judge(exercise, lambda text: len(text)).mistake.name
'all letters are counted'
>>> judge(exercise, ...).state
'not attempted yet'

A known mistake is named only if the answer does the same as it on every input. So it must show on at least one of the
inputs and differ from the others: give, before the random inputs, the small cases that tell them apart.
`python tests/near_misses.py vowels` changes the solution in small ways, and lists the wrong answers that pass; those of
your own go into `near_misses`. `reference` may be slow or a library; `properties` are for answers that have no single
right result; `use` is for classes (`use=lambda Answer, text: Answer(text).encode(text)`).

A prediction goes into `PREDICTIONS` (`Prediction(id="attention.b", question=…, kind="shape", explanation=…)`), the
three questions that open a notebook into `QUESTIONS` of its topic's file.

Progress is stored in the reader's own data folder, for nobody else to read; the variable `GPTLAB_PROGRESS` names
another file, or is "off". `python3 -m gptlab progress` shows, exports, takes in and resets it (`hand_in`).
'''

from gptlab.exercises.card import Card
from gptlab.exercises.engine import check, compare, hint, solution
from gptlab.exercises.judge import judge
from gptlab.exercises.progress import progress, tally
from gptlab.exercises.quizzes import predict, quiz, recap
from gptlab.exercises.registry import every, find, predictions
from gptlab.exercises.schema import Exercise, Mistake, Prediction, Question

retrieve = quiz

__all__ = [
    "Card", "Exercise", "Mistake", "Prediction", "Question", "check", "compare", "every", "find", "hint", "judge",
    "predict", "predictions", "progress", "quiz", "recap", "retrieve", "solution", "tally",
]  # fmt: skip
