"""A link knows when something between two nodes was missed; quiet groups lean on that."""

from quorumlog.replica.frames import Frame, Lane
from quorumlog.replica.links import PeerLink


def frame(sequence: int, session: int = 1, lane: Lane = Lane.URGENT, resync: bool = False) -> Frame:
    return Frame(2, 1, lane, session, sequence, alive=True, resync=resync)


def heard_link() -> PeerLink:
    link = PeerLink(1, 2, 0)
    link.hear(frame(1), 10)
    link.resync_wanted = False
    return link


def test_consecutive_frames_renew_nothing() -> None:
    link = heard_link()
    assert link.hear(frame(2), 20) == (True, False)
    assert link.hear(frame(3), 30) == (True, False)
    assert link.heard_ms == 30


def test_a_repeated_frame_is_not_taken_and_proves_nothing() -> None:
    link = heard_link()
    link.hear(frame(2), 20)
    assert link.hear(frame(2), 99) == (False, False)
    assert link.heard_ms == 20


def test_a_missing_frame_renews_and_asks_the_sender_to_say_it_again() -> None:
    link = heard_link()
    assert link.hear(frame(3), 20) == (True, True)
    assert link.resync_wanted


def test_the_frame_that_was_overtaken_is_not_taken_later() -> None:
    link = heard_link()
    link.hear(frame(3), 20)
    assert link.hear(frame(2), 30) == (False, False)


def test_a_new_session_counts_as_something_missed() -> None:
    link = heard_link()
    assert link.hear(frame(1, session=2), 20) == (True, True)
    assert link.hear(frame(9, session=1), 30) == (False, False), "a frame of the session before is stale"


def test_a_gap_in_the_bulk_lane_costs_a_resend_and_renews_nothing() -> None:
    link = heard_link()
    link.hear(frame(1, lane=Lane.BULK), 20)
    assert link.hear(frame(5, lane=Lane.BULK), 30) == (True, False)
    assert not link.resync_wanted


def test_a_silent_peer_renews_when_it_is_heard_again() -> None:
    link = heard_link()
    link.silent = True
    assert link.hear(frame(2), 5_000) == (True, True)
    assert not link.silent


def test_a_peer_that_asks_for_a_resync_renews() -> None:
    link = heard_link()
    assert link.hear(frame(2, resync=True), 20) == (True, True)
    assert not link.resync_wanted, "only the side that missed something asks"


def test_what_was_gathered_while_the_lane_is_down_is_dropped() -> None:
    link = PeerLink(1, 2, 0)
    link.lane(Lane.BULK).messages.append((7, None))  # type: ignore[arg-type]
    frames: list[Frame] = []
    link.flush(0, 150, frames)
    link.begin_session(Lane.BULK, 1)
    link.flush(0, 150, frames)
    assert frames == []


def test_a_sign_of_life_leaves_each_heartbeat_and_no_sooner() -> None:
    link = PeerLink(1, 2, 0)
    link.begin_session(Lane.URGENT, 4)
    sent = []
    for now in range(0, 500, 50):
        frames: list[Frame] = []
        link.flush(now, 150, frames)
        sent += [(now, one.session, one.sequence, one.alive) for one in frames]
    assert sent == [(0, 4, 1, True), (150, 4, 2, True), (300, 4, 3, True), (450, 4, 4, True)]
