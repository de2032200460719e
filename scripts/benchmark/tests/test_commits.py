import tempfile
import unittest
from pathlib import Path

from benchmark import commits
from benchmark.host.tools import BenchError, tool
from benchmark.model import Contender
from benchmark.programs import earlier


class Commits(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.repository = self.root / "repository"
        self.git("init", "--quiet", self.repository)
        for text in ("old", "new"):
            (self.repository / "file").write_text(text)
            self.git("-C", self.repository, "add", "file")
            self.git("-C", self.repository, "commit", "--quiet", "-m", text)

    def git(self, *arguments):
        return tool("git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments)

    def test_a_commit_must_exist(self):
        self.assertEqual(len(commits.full_hash("HEAD~1", self.repository)), 40)
        for wrong in ("HEAD~2", "--all", "nowhere"):
            with self.assertRaisesRegex(BenchError, "no such commit"):
                commits.full_hash(wrong, self.repository)

    def test_the_worktree_is_temporary(self):
        tree = self.root / "tree"
        for _ in range(2):
            with commits.checked_out("HEAD~1", tree, self.repository):
                self.assertEqual((tree / "file").read_text(), "old")
            self.assertFalse(tree.exists())
        self.assertEqual(self.git("-C", self.repository, "worktree", "list").count("\n"), 1)

    def test_what_a_killed_run_left_is_replaced(self):
        tree = self.root / "tree"
        self.git("-C", self.repository, "worktree", "add", "--detach", tree, "HEAD")
        with commits.checked_out("HEAD~1", tree, self.repository):
            self.assertEqual((tree / "file").read_text(), "old")

    def test_a_commit_that_was_built_is_not_built_again(self):
        (self.root / "hash").write_text("the program")
        self.assertEqual(commits.executable_of("hash", self.root), self.root / "hash")


class Naming(unittest.TestCase):
    def test_the_earlier_ringmill_differs_only_in_its_name(self):
        command = "ringmill dns -r $SERVER --ringmill"
        one = Contender(command, command, ("ringmill", "nsd"), "text", ordered=True)
        other = earlier(one)
        self.assertEqual(other.command, "earlier-ringmill dns -r $SERVER --ringmill")
        self.assertEqual(other.label, other.command)
        self.assertEqual(other.programs, ("earlier-ringmill", "nsd"))
        self.assertTrue(other.ordered)


if __name__ == "__main__":
    unittest.main()
