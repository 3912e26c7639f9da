import errno
import hashlib
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import download
from minicnn.data.download import DownloadError, RemoteFile, fetch
from minicnn.errors import MinicnnError

CONTENT = np.random.default_rng(0).bytes(700_000)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def remote(server):
    server.content = CONTENT
    return RemoteFile("file", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), (server.url(),))


def names(folder):
    return {path.name for path in folder.iterdir()} - {"file.lock"} if folder.exists() else set()


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_download_is_whole_reports_progress_and_is_not_repeated(remote, server, tmp_path):
    seen = []
    path = fetch(remote, tmp_path / "new" / "folder", progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert seen[0] == ("file", 0, len(CONTENT)) and seen[-1] == ("file", len(CONTENT), len(CONTENT))
    assert names(path.parent) == {"file"}
    fetch(remote, path.parent)
    assert len(server.asked) == 1


def test_what_was_received_before_is_not_asked_for_again(remote, server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:300_000])
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/file", "bytes=300000-")]


def test_a_connection_that_breaks_is_resumed(remote, server, tmp_path):
    server.cut = 400_000
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=400000-"]


def test_a_server_without_ranges_starts_again(remote, server, tmp_path):
    server.ranges = False
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    assert fetch(remote, tmp_path).read_bytes() == CONTENT


def test_a_wrong_beginning_is_thrown_away_and_fetched_again(remote, server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=1000-", None]


def test_a_part_that_is_whole_needs_no_network(remote, server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert server.asked == []


def test_a_part_that_is_too_long_is_thrown_away(remote, server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert fetch(remote, tmp_path).read_bytes() == CONTENT


def test_bad_bytes_never_get_the_final_name(remote, server, tmp_path):
    server.content = b"x" * len(CONTENT)
    with pytest.raises(DownloadError, match=f"gave a file with SHA-256 .* expected {remote.sha256}"):
        fetch(remote, tmp_path)
    assert names(tmp_path) == set()


def test_a_server_that_sends_too_much_is_stopped(remote, server, tmp_path):
    server.content = CONTENT + b"more"
    with pytest.raises(DownloadError, match="sent more than the 700,000 bytes"):
        fetch(remote, tmp_path)
    assert "file" not in names(tmp_path)


def test_a_file_of_unknown_size_is_fetched_from_its_beginning(remote, server, tmp_path):
    some = replace(remote, size=None, sha256=remote.sha256[:8])  # and of its hash the first digits are known
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    seen = []
    assert fetch(some, tmp_path, progress=lambda *step: seen.append(step)).read_bytes() == CONTENT
    assert server.asked == [("/file", None)] and seen[-1] == ("file", len(CONTENT), None)


def test_a_file_of_unknown_size_that_is_wrong_or_cut_off_is_refused(remote, server, tmp_path):
    some = replace(remote, size=None, sha256="00000000")
    with pytest.raises(DownloadError, match=r"gave a file with SHA-256 [0-9a-f]{64}, expected 00000000"):
        fetch(some, tmp_path)
    server.cut = 1000
    assert fetch(replace(remote, size=None), tmp_path).read_bytes() == CONTENT  # asked again
    assert names(tmp_path) == {"file"}


def test_the_next_mirror_serves_where_one_fails(remote, server, tmp_path):
    mirrors = replace(remote, urls=(f"http://127.0.0.1:{closed_port()}/", server.url("missing"), server.url()))
    assert fetch(mirrors, tmp_path).read_bytes() == CONTENT


def test_all_mirrors_failing_is_one_line_that_tells_each(remote, server, tmp_path):
    port = closed_port()
    server.content = CONTENT[:1000]
    mirrors = replace(remote, urls=(f"http://127.0.0.1:{port}/", server.url("missing"), server.url()))
    with pytest.raises(DownloadError) as caught:
        fetch(mirrors, tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    for part in (f":{port}/: connection refused", "missing: answered 404 ", "ended after 1,000 of 700,000 bytes"):
        assert part in text


def test_a_silent_server_is_given_up(remote, server, tmp_path):
    server.delay = 0.5
    with pytest.raises(DownloadError, match="timed out"):
        fetch(remote, tmp_path, timeout=0.1)


@pytest.mark.parametrize("url", ["http://example.invalid/file", "file:///etc/passwd", "ftp://127.0.0.1/file"])
def test_only_https_is_asked(remote, url, tmp_path):
    with pytest.raises(DownloadError, match=r"refused: .* is not https"):
        fetch(replace(remote, urls=(url,)), tmp_path)


def test_a_redirect_away_from_https_is_not_followed(remote, server, tmp_path):
    url = server.url("redirect/http://example.invalid/file")
    with pytest.raises(DownloadError, match=r"refused: http://example\.invalid is not https"):
        fetch(replace(remote, urls=(url,)), tmp_path)


def test_a_full_disk_leaves_nothing(remote, tmp_path, monkeypatch):
    real_open = open

    class FullDisk:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            self.file.close()

        @property
        def closed(self):
            return self.file.closed

    monkeypatch.setattr(download, "open", lambda *args: FullDisk(real_open(*args)), raising=False)
    with pytest.raises(MinicnnError, match=r"file: cannot be written: no space left on device$"):
        fetch(remote, tmp_path)
    monkeypatch.undo()
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_one_line(remote, tmp_path):
    (tmp_path / "in the way").write_text("")
    with pytest.raises(MinicnnError, match="in the way is a file"):
        fetch(remote, tmp_path / "in the way" / "folder")


def test_a_folder_that_cannot_be_written_is_one_line(remote, server, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(download.FileLock, "__enter__", refuse)  # chmod stops nobody who is root
    with pytest.raises(MinicnnError, match=r"cannot be written: permission denied$"):
        fetch(remote, tmp_path)
    assert server.asked == []


def test_two_processes_download_once(remote, server, tmp_path):
    server.delay = 0.3
    code = (
        "import sys; from pathlib import Path; from minicnn.data.download import *; "
        "print(fetch(RemoteFile('file', int(sys.argv[1]), sys.argv[2], (sys.argv[3],)), Path(sys.argv[4])))"
    )
    command = [sys.executable, "-c", code, str(remote.size), remote.sha256, remote.urls[0], str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.communicate(timeout=60)[0].strip() == str(tmp_path / "file")
    assert len(server.asked) == 1
    assert (tmp_path / "file").read_bytes() == CONTENT
