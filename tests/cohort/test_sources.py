from pathlib import Path

import pytest

from grader.cohort.sources import Sources
from grader.digests import source_digest
from grader.errors import MachineError


def test_files_come_back_as_they_were_in_any_order_and_equal_ones_are_kept_once():
    files = [b"a" * 10_000, b"", b"\r\n\xff", b"a" * 10_000]
    with Sources() as sources:
        digests = [sources.keep(file) for file in files]
        assert digests == [source_digest(file) for file in files]
        assert [sources.read(digest) for digest in reversed(digests)] == files[::-1]
        assert sources.keep(b"another") == source_digest(b"another")  # after reading: nothing is written over
        assert [sources.read(digest) for digest in digests] == files
        assert [sources.size(digest) for digest in digests] == [10_000, 0, 3, 10_000]
        assert sources._file.seek(0, 2) == 10_000 + 3 + 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_the_machines():
    with Sources() as sources, Path("/dev/full").open("r+b", buffering=0) as full:
        sources._file.close()
        sources._file = full
        with pytest.raises(MachineError, match=r"No space left on device\. Make room, or set TMPDIR"):
            sources.keep(b"x = 1")
