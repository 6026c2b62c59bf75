"""An fsync that fails while a log is opened is as final as any other."""

from __future__ import annotations

import pytest
from storage.storage_kit import PATH, append, commands, create, new_disk, reopen

from quorumlog.raft.types import HardState
from quorumlog.sim.disk import PowerCut
from quorumlog.storage import CorruptLog


def test_no_later_start_believes_what_a_failed_fsync_at_opening_left_in_the_page_cache() -> None:
    """Found by the simulator (a failed fsync while all machines came back): the error ended the start, and the next
    start read the same pages, clean now and on no disk, and vouched for them."""
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 4))
    log.stage(2, HardState(1, 1, 3), commands(4, 6))
    job = log.write_job()
    assert job is not None
    disk.cut_after(2)
    with pytest.raises(PowerCut):
        job.run()
    disk.crash(keep_all=True)

    disk.fail_sync(PATH)
    with pytest.raises(CorruptLog, match="fsync failed"):
        reopen(disk)
    with pytest.raises(CorruptLog, match="fsync failed"):
        reopen(disk)
