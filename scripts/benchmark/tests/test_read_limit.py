import os
import tempfile
import unittest
from pathlib import Path

from benchmark.host.read_limit import (GROUP, BlkioController, IoController, ReadLimit,
                                       disk_behind, find_controller)


class Tree:
    """A simulated tree of control groups: there, `mkdir` creates files and `rmdir` removes them."""

    def __init__(self, test):
        directory = tempfile.TemporaryDirectory()
        test.addCleanup(directory.cleanup)
        self.root = Path(directory.name)

    def write(self, name, text=""):
        (self.root / name).write_text(text)

    def mounted(self, kind, options):
        return [("/proc", "proc", "proc", "rw"), (str(self.root), kind, kind, options)]


class Finding(unittest.TestCase):
    def test_version_1(self):
        tree = Tree(self)
        mounts = tree.mounted("cgroup", "rw,blkio")
        self.assertIsNone(find_controller(mounts))
        tree.write("blkio.throttle.read_iops_device")
        self.assertIsInstance(find_controller(mounts), BlkioController)

    def test_version_2(self):
        tree = Tree(self)
        mounts = tree.mounted("cgroup2", "rw")
        tree.write("cgroup.controllers", "cpu memory\n")
        self.assertIsNone(find_controller(mounts))
        tree.write("cgroup.controllers", "cpu io memory\n")
        self.assertIsInstance(find_controller(mounts), IoController)

    def test_other_controllers_do_not_count(self):
        self.assertIsNone(find_controller(Tree(self).mounted("cgroup", "rw,memory")))


class Version2(unittest.TestCase):
    """Checks what is written; no kernel reads it here."""

    def setUp(self):
        self.tree = Tree(self)
        self.tree.write("cgroup.subtree_control", "cpu\n")
        self.group = self.tree.root / GROUP
        self.controller = IoController(self.tree.root)

    def switch(self):
        return (self.tree.root / "cgroup.subtree_control").read_text()

    def test_the_controller_is_enabled_and_disabled_again(self):
        procs = self.controller.open("254:0", 3000)
        self.assertEqual(procs, self.group / "cgroup.procs")
        self.assertEqual(self.switch(), "+io\n")
        self.assertEqual((self.group / "io.max").read_text(), "254:0 riops=3000\n")
        (self.group / "io.max").unlink()  # the kernel would remove it with the directory
        self.controller.close()
        self.assertEqual(self.switch(), "-io\n")
        self.assertFalse(self.group.exists())

    def test_a_controller_that_others_enabled_stays_enabled(self):
        self.tree.write("cgroup.subtree_control", "cpu io\n")
        self.controller.open("254:0", 3000)
        (self.group / "io.max").unlink()
        self.controller.close()
        self.assertEqual(self.switch(), "cpu io\n")


class Version1(unittest.TestCase):
    def test_the_group_is_removed_when_the_command_is_interrupted(self):
        tree = Tree(self)
        group = tree.root / GROUP
        if disk_behind(tree.root) is None:
            self.skipTest("no disk behind the temporary directory")
        with self.assertRaises(KeyboardInterrupt):
            with ReadLimit(tree.root, 3000, BlkioController(tree.root)).group():
                limits = group / "blkio.throttle.read_iops_device"
                self.assertEqual(limits.read_text(), f"{disk_behind(tree.root)} 3000\n")
                os.unlink(limits)
                raise KeyboardInterrupt
        self.assertFalse(group.exists())


if __name__ == "__main__":
    unittest.main()
