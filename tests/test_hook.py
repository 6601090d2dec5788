"""The README's animated picture."""

import numpy as np
from PIL import Image

from recipes.words.hook import PICTURE, animate, eventful


def test_what_is_eventful():
    assert eventful([0.1, 0.1, 0.5, 0.6, 1.0], finished=True)
    assert not eventful([0.1, 0.1, 0.5, 0.6, 1.0], finished=False)
    assert not eventful([0.1, 0.2, 0.5, 0.6, 1.0], finished=True)  # every try helped
    assert not eventful([0.1, 0.1, 0.2, 0.3, 0.4], finished=True)  # none helped much
    assert not eventful([0.1, 0.1, 0.5, 1.0], finished=True)  # too short


def test_a_frame_for_each_j(tmp_path):
    path = tmp_path / "thought.gif"
    animate("Which whole number from 1 to 3, times 2, makes 6?", ["Try 1.", "Try 3."], [0.3, 0.5, 1.0], path)
    with Image.open(path) as image:
        assert image.n_frames == 3
        pictures = []
        for i in range(3):
            image.seek(i)
            pictures.append(np.asarray(image.convert("L")))
    assert (pictures[0] != pictures[1]).any()
    assert (pictures[1] != pictures[2]).any()


def test_the_committed_picture_is_small_and_of_an_eventful_thought():
    assert PICTURE.stat().st_size < 500_000
    with Image.open(PICTURE) as image:
        assert 5 <= image.n_frames <= 7
