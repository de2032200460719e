import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path
from types import SimpleNamespace

from benchmark.files import layers
from benchmark.host.tools import BenchError, tool


def can_be_served():
    return (os.geteuid() == 0 and os.path.exists("/dev/fuse") and shutil.which("cc")
            and os.path.exists("/usr/include/fuse3/fuse_lowlevel.h"))


class Temporary(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(os.path.realpath(directory.name))
        (self.path / "data").mkdir()
        self.place = SimpleNamespace(data=self.path, output=self.path,
                                     programs=SimpleNamespace(env=dict(os.environ)))


class Serving(Temporary):
    def test_a_server_that_ends_says_why(self):
        command = ["sh", "-c", "echo no device >&2; exit 1"]
        with self.assertRaisesRegex(BenchError, "sh does not mount: no device"):
            with layers.served(command, self.path / "root", self.place):
                self.fail("it is not mounted")

    def test_a_program_that_is_not_installed_is_named(self):
        with self.assertRaisesRegex(BenchError, "nosuchfs: not installed"):
            with layers.served(["nosuchfs"], self.path / "root", self.place):
                self.fail("it is not mounted")


@unittest.skipUnless(can_be_served(), "needs root, FUSE and libfuse3-dev")
class Scripted(Temporary):
    """tests/fuse/scripted.c"""

    def serve(self, script):
        program = self.path / "scripted"
        tool("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, layers.SCRIPTED_SOURCE,
             "-lfuse3", "-lpthread")
        (self.path / "script").write_text(script)
        root = self.path / "root"
        root.mkdir(exist_ok=True)
        command = [program, self.path / "script", self.path / "data", root]
        serving = layers.served(command, root, self.place)
        self.server = serving.__enter__()
        self.addCleanup(serving.__exit__, None, None, None)
        return root

    def write(self, **contents):
        for name, content in contents.items():
            (self.path / "data" / name).write_bytes(content)

    def test_calls_follow_the_script(self):
        self.write(plain=b"x" * 5000, bad=b"y", part=b"z" * 300)
        root = self.serve("# all of them:\nopen bad fail ENFILE times 1\n"
                          "open part direct\nread part short 100\n")
        self.assertEqual((root / "plain").read_bytes(), b"x" * 5000)
        with self.assertRaisesRegex(OSError, "Too many open files in system"):
            (root / "bad").read_bytes()
        self.assertEqual((root / "bad").read_bytes(), b"y")
        with open(root / "part", "rb", buffering=0) as file:
            self.assertEqual([len(file.read(4096)) for _ in range(4)], [100, 100, 100, 0])
        with self.assertRaises(FileNotFoundError):
            (root / "missing").read_bytes()

    def test_a_part_of_a_file_is_bad(self):
        self.write(disk=b"x" * 50000)
        root = self.serve("open disk direct\nread disk @8192+4096 fail EIO\n")
        with open(root / "disk", "rb", buffering=0) as file:
            file.seek(4096)
            self.assertEqual(len(file.read(4096)), 4096)
            with self.assertRaisesRegex(OSError, "Input/output error"):
                file.read(1)
            file.seek(12287)
            with self.assertRaisesRegex(OSError, "Input/output error"):
                file.read(4096)
            file.seek(12288)
            self.assertEqual(len(file.read(4096)), 4096)

    def test_what_is_not_a_range_is_not_a_rule(self):
        for text in ("@+1", "@1", "@1+", "@1+0", "@-1+5", "@1+2x", "@9223372036854775807+1"):
            with self.subTest(text), self.assertRaisesRegex(BenchError, "script:1: not a rule"):
                self.serve(f"read disk {text} hang\n")

    def test_the_script_is_read_again(self):
        self.write(file=b"x")
        root = self.serve("open file fail EIO\n")
        with self.assertRaises(OSError):
            (root / "file").read_bytes()
        (self.path / "script").write_text("nonsense\n")
        self.server.send_signal(signal.SIGUSR2)
        time.sleep(0.2)
        with self.assertRaises(OSError):
            (root / "file").read_bytes()
        (self.path / "script").write_text("open file delay 1ms\n")
        self.server.send_signal(signal.SIGUSR2)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                content = (root / "file").read_bytes()
                break
            except OSError:
                time.sleep(0.01)
        self.assertEqual(content, b"x")

    def test_delays_run_in_parallel(self):
        names = [f"file{number}" for number in range(40)]
        self.write(**{name: b"x" for name in names})
        root = self.serve("read * delay 100ms\n")
        threads = [threading.Thread(target=(root / name).read_bytes) for name in names]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertGreater(time.monotonic() - start, 0.09)
        self.assertLess(time.monotonic() - start, 2)

    def test_what_hangs_ends_with_the_server(self):
        self.write(stuck=b"x", good=b"y")
        root = self.serve("read stuck hang\n")
        reader = subprocess.Popen(["cat", root / "stuck"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        time.sleep(0.2)
        self.assertEqual((root / "good").read_bytes(), b"y")
        self.assertIsNone(reader.poll())
        self.server.terminate()
        self.assertNotEqual(reader.wait(5), 0)


if __name__ == "__main__":
    unittest.main()
