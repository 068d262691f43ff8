"""Teaching with the course: hand it out, collect what comes back, mark it.

    python3 -m gptlab classroom release attention --out course.zip     # what a pupil unpacks and opens
    python3 -m gptlab classroom collect handed-in/                     # who has handed in what
    python3 -m gptlab classroom grade handed-in/ --out report/         # marks.csv and report.html
    python3 -m gptlab classroom plan                                   # lesson plans; --write: a sheet per notebook
    python3 -m gptlab classroom slides attention --out lesson/         # one HTML file for the projector

`release` makes the zip and `clean` the twins in it for recall. `submissions` reads what comes back. `grading` marks it:
for each notebook `marking` and `remote` judge, in a process of its own, what `answering` computes in another one, which
`sandbox` and `walls` keep in; `slicing` finds the statements that matter, and `wire` and `channel` carry values as
plain data. `report` writes the table and the page.

`plans` has the lessons and, with `sheets`, what a teacher needs for each notebook: counted in its text twin (`twins`)
and its exercises, with `lessons.yaml` written by hand. `concepts` is the map of the words, `slides` the deck.

What a mark means: the code that was handed in gave the right results on the course's own inputs. It does not say who
wrote it. What marking protects against, and what it does not, is the table in `sandbox`.
"""
