import threading

import numpy as np
import pytest

from minicnn.data import Batches, Compose, Cutout, Dataset, HorizontalFlip, RandomShift
from minicnn.data.batches import _generator
from minicnn.errors import MinicnnError

N = 23
IMAGES = np.arange(N, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8)  # picture k is full of k
DATA = Dataset(IMAGES, np.arange(N) % 10, tuple("0123456789"), "toy")
AUGMENT = Compose((RandomShift(2), HorizontalFlip(), Cutout(3)))


def bits(batches):
    return [(images.tobytes(), labels.tobytes()) for images, labels in batches]


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("minicnn-batches")]


def test_an_epoch_holds_each_picture_once_with_its_label():
    batches = list(Batches(DATA, 5).epoch(0))
    assert len(batches) == len(Batches(DATA, 5)) == 5
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert images.dtype == np.float32 and labels.dtype == np.int64 and images.shape == (N, 1, 8, 8)
    which = np.rint(images[:, 0, 0, 0] * 255).astype(int)
    assert sorted(which) == list(range(N)) and which.tolist() != list(range(N))
    assert np.array_equal(labels, which % 10)


def test_pixels_are_in_0_to_1_exactly():
    dataset = Dataset(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), np.zeros(1, np.int64), ("a",), "all")
    for dtype in (np.float32, np.float64):
        images, _ = next(Batches(dataset, 1, dtype=dtype).epoch(0))
        assert images.dtype == dtype and images.max() == 1 and images.min() == 0
        assert np.array_equal(np.rint(images * 255), dataset.images)
        assert images.flags.c_contiguous and images.flags.writeable


def test_unshuffled_batches_have_the_order_of_the_set():
    which = np.concatenate([images[:, 0, 0, 0] for images, _ in Batches(DATA, 4, shuffle=False).epoch(3)])
    assert np.rint(which * 255).tolist() == list(range(N))


def test_drop_last_leaves_out_what_fills_no_batch():
    batches = Batches(DATA, 5, drop_last=True)
    assert len(batches) == 4 and [len(labels) for _, labels in batches.epoch(0)] == [5] * 4
    assert len(Batches(DATA, N, drop_last=True)) == 1


def test_epochs_and_seeds_differ_and_equal_ones_agree():
    first = Batches(DATA, 5, seed=1, augment=AUGMENT)
    runs = {
        b"".join(i + n for i, n in bits(Batches(DATA, 5, seed=s, augment=AUGMENT).epoch(e)))
        for s in (0, 1)
        for e in (0, 1)
    }
    assert len(runs) == 4
    assert bits(first.epoch(1)) == bits(Batches(DATA, 5, seed=1, augment=AUGMENT).epoch(1))


def test_an_epoch_resumed_in_the_middle_sees_the_same_bits():
    batches = Batches(DATA, 5, seed=3, augment=AUGMENT)
    whole = bits(batches.epoch(2))
    for start in range(6):
        assert bits(batches.epoch(2, start)) == whole[start:]


def test_the_draws_of_two_batches_do_not_repeat_each_other():
    seen = []

    def augment(images, rng):
        seen.append(rng.random())
        return images

    for seed in (0, 1):
        for epoch in (0, 1):
            list(Batches(DATA, 5, seed=seed, augment=augment).epoch(epoch))
    assert len(set(seen)) == 20
    # Nor those of the shuffle: NumPy's SeedSequence takes (1, 2) for (1, 2, 0).
    assert np.random.SeedSequence((1, 2)).generate_state(1) == np.random.SeedSequence((1, 2, 0)).generate_state(1)
    assert _generator(1, 2).random() != _generator(1, 2, 0).random()


def test_the_data_set_is_not_changed():
    before = DATA.fingerprint()
    for images, labels in Batches(DATA, 4, shuffle=False).epoch(0):
        images[:], labels[:] = 0, 0
    assert DATA.fingerprint() == before


def test_an_error_in_the_thread_reaches_the_consumer_at_its_batch():
    calls = []

    def broken(images, rng):
        calls.append(1)
        if len(calls) == 3:
            raise MinicnnError("a bad picture")
        return images

    batches = Batches(DATA, 5, augment=broken).epoch(0)
    next(batches)
    next(batches)
    with pytest.raises(MinicnnError, match="a bad picture"):
        next(batches)
    assert threads() == []


def test_the_thread_ends_with_the_consumer():
    batches = Batches(DATA, 2).epoch(0)
    next(batches)
    assert len(threads()) == 1
    batches.close()
    assert threads() == []
    for _ in Batches(DATA, 2).epoch(0):
        break
    assert threads() == []
    list(Batches(DATA, 2).epoch(0))
    assert threads() == []


def test_no_more_than_three_batches_are_prepared_ahead():
    prepared = []

    def augment(images, rng):
        prepared.append(1)
        return images

    batches = Batches(DATA, 1, augment=augment).epoch(0)
    next(batches)
    threading.Event().wait(0.05)
    assert len(prepared) <= 3
    batches.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"batch_size": 2.0}, r"batch size 2\.0"),
        ({"batch_size": 5, "seed": -1}, "seed -1"),
        ({"batch_size": 24, "drop_last": True}, "toy: no whole batch of 24 in 23 pictures"),
        ({"batch_size": 5, "dtype": np.uint8}, "dtype uint8: expected floats"),
    ],
)
def test_wrong_settings_are_told_at_once(options, said):
    with pytest.raises(MinicnnError, match=said):
        Batches(DATA, **options)


def test_a_wrong_epoch_or_start_is_told_at_the_call():
    with pytest.raises(MinicnnError, match="epoch -1"):
        Batches(DATA, 5).epoch(-1)
    with pytest.raises(MinicnnError, match="start 6: an epoch has 5 batches"):
        Batches(DATA, 5).epoch(0, 6)
