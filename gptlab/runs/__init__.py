"""The training program: what `python -m gptlab train` does, on any device.

- `recipes`: a recipe names a corpus, a model and a way to train.
- `options`: what the command line can say, made from the dataclasses that declare the settings.
- `settings`: what decides what a run computes; config.yaml holds it, and the command line changes it.
- `documents`, `own_text`: texts of your own, and which tokens, model and steps suit their length.
- `building`: the model, the batches and the evaluation that a recipe names.
- `reinforcing`: what a recipe with a reward needs: rollouts, and how they are judged.
- `program`: train, on one process or several; save, export and record.
- `reporting`: what a run shows while it goes on.
- `compiling`: torch.compile, or a run that continues without it.
- `interruption`: SIGTERM and Ctrl-C, so that a run saves a checkpoint before it ends.
- `tensorboard`: curves for TensorBoard.
- `records`: measurements, with everything that one must know to believe them.

>>> RECIPES["fables"].training.steps
1000
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "building",
        "compiling",
        "documents",
        "interruption",
        "options",
        "own_text",
        "program",
        "recipes",
        "reinforcing",
        "records",
        "reporting",
        "settings",
        "tensorboard",
    ],
    submod_attrs={
        "building": ["TrainingSetup", "build"],
        "interruption": ["StopOnSignal"],
        "own_text": ["plan"],
        "recipes": ["RECIPES", "Recipe", "model_config"],
        "records": ["Record", "recorded"],
        "settings": ["Options", "Settings", "from_yaml", "settings_from", "to_yaml"],
    },
)
