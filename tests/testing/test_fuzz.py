"""Whatever is damaged on its way is a named error, and the node goes on."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.log import ROOT
from splice.message import CANCEL, REQUEST, RESPONSE, SIGNAL
from splice.net import frames
from splice.net.frames import FrameError
from splice.testing import fuzz
from splice.testing.simulation import Simulation
from splice.uri import url

SEEDS = st.integers(0, 2**48)


@pytest.mark.parametrize("name", ["frames", "batches", "payloads", "handshakes"])
@given(seed=SEEDS)
def test_what_is_damaged_is_read_or_refused_by_name(name: str, seed: int) -> None:
    fuzz.run_one(fuzz.TARGETS[name], seed)


@pytest.mark.parametrize("seed", range(10))
def test_a_node_outlives_a_member_with_a_defect(seed: int) -> None:
    fuzz.run_one(fuzz.nodes, seed)


def test_a_reader_with_a_defect_is_found_and_its_seed_named(monkeypatch) -> None:
    monkeypatch.setattr(frames, "_UNREADABLE", (EOFError,))  # others are not caught

    def first_error() -> BaseException:
        for seed in range(300):
            try:
                fuzz.run_one(fuzz.batches, seed)
            except Exception as error:
                return error
        raise AssertionError("nothing was found")

    (note,) = first_error().__notes__
    assert note.startswith("splice.testing.fuzz: batches, seed")
    with pytest.raises(type(first_error())):
        fuzz.run_one(fuzz.batches, int(note.split()[-1]))


def test_the_program_says_what_it_did(capsys, caplog, monkeypatch) -> None:
    # as the program does; taken back afterwards
    caplog.set_level(logging.CRITICAL, ROOT)
    monkeypatch.setattr(fuzz.resource, "setrlimit", lambda *_: None)
    fuzz.main(["--minutes", "0.001", "frames"])
    assert "frames: " in capsys.readouterr().out
    fuzz.main(["--seed", "1", "frames", "handshakes"])


@pytest.mark.parametrize(
    "entry",
    [
        (),
        None,
        (REQUEST, 1),
        (REQUEST, 1, [], "handler", (), None),
        (SIGNAL, "down"),
        (CANCEL,),
        ([],),
    ],
    ids=repr,
)
def test_a_message_that_has_not_the_form_of_one_is_a_frame_error(entry) -> None:
    simulation = Simulation()
    try:
        one, other = simulation.node(), simulation.node()
        peer = one.open().reach(other.address, other.incarnation)
        with pytest.raises(FrameError, match="a message that cannot be read"):
            one.exchange.on_batch(peer, [entry], [])
    finally:
        simulation.close()


def test_an_answer_that_cannot_be_read_is_an_error_at_its_asker() -> None:
    simulation = Simulation()
    try:
        one, other = simulation.node(), simulation.node()
        agent = one.connect(url("node", other.address))

        def ask() -> str:
            promise = agent.info()
            peer = one.open().reach(other.address)
            (ident,) = one.exchange._dialogues[peer].asked
            bad = (RESPONSE, ident, True, [0])
            one.exchange.on_batch(peer, [bad], [])
            return str(promise.exception(1))

        assert "malformed payload in a message" in simulation.run(one, ask)
    finally:
        simulation.close()


def test_a_memo_index_that_fills_all_memory_is_not_tried() -> None:
    assert fuzz._highest_memo(b"\x80\x05]r\xff\xff\xff\x3f.") == 0x3FFFFFFF
    assert fuzz._highest_memo(frames.encode_batch([(REQUEST, 1, "node")])) == 0
