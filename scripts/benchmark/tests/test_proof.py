import unittest

from benchmark.files.volumes import DiskReads
from benchmark.measure import Usage
from benchmark.proof import (against_cold, against_hot, against_limit, against_others,
                             most_per_second)

MEGABYTE = 1_000_000


def usage(blocks_read=0, others_cpu_s=0.0):
    return Usage(0, 1.0, 1.0, 0.5, 1000, blocks_read, others_cpu_s)


class Hot(unittest.TestCase):
    def test_a_run_that_read_nothing_is_hot(self):
        self.assertIsNone(against_hot(usage(), DiskReads(0, 0), MEGABYTE))

    def test_one_per_cent_may_have_been_evicted(self):
        self.assertIsNone(against_hot(usage(), DiskReads(1, 19), MEGABYTE))
        self.assertIn("20 sectors", against_hot(usage(), DiskReads(1, 20), MEGABYTE))

    def test_what_the_command_read_elsewhere_counts_too(self):
        self.assertIn("the command read 20 blocks",
                      against_hot(usage(blocks_read=20), DiskReads(0, 0), MEGABYTE))

    def test_without_a_counter_the_command_alone_is_judged(self):
        self.assertIsNone(against_hot(usage(), None, MEGABYTE))
        self.assertIsNotNone(against_hot(usage(blocks_read=20), None, MEGABYTE))


class Cold(unittest.TestCase):
    def test_all_of_the_data_must_have_been_read(self):
        enough = DiskReads(9, -(-MEGABYTE // 512))
        self.assertIsNone(against_cold(enough, MEGABYTE))
        self.assertIsNotNone(against_cold(DiskReads(9, enough.sectors - 1), MEGABYTE))

    def test_nothing_is_cold_without_a_counter(self):
        self.assertIsNotNone(against_cold(None, MEGABYTE))


class Alone(unittest.TestCase):
    def test_the_rest_of_the_machine_may_use_a_little(self):
        self.assertIsNone(against_others(usage(others_cpu_s=0.22), 0.2))
        self.assertIn("0.30 cores", against_others(usage(others_cpu_s=0.30), 0.2))


class Limit(unittest.TestCase):
    def at_rate(self, per_second, seconds=5, burst=0):
        """Samples every 20 ms."""
        return [(number / 50, int(burst * (number > 0) + number / 50 * per_second))
                for number in range(int(seconds * 50) + 1)]

    def test_the_rate_itself_and_one_slice_ahead_are_allowed(self):
        self.assertIsNone(against_limit(self.at_rate(3000), 3000))
        self.assertIsNone(against_limit(self.at_rate(3000, burst=300), 3000))

    def test_a_higher_rate_is_not_allowed(self):
        self.assertIn("not limited", against_limit(self.at_rate(3400), 3000))
        self.assertIn("not limited", against_limit(self.at_rate(3000, burst=600), 3000))

    def test_a_burst_in_the_middle_is_seen(self):
        samples = [(0, 0), (2, 3000), (2.5, 6500), (4, 6500)]
        self.assertEqual(most_per_second(samples), 3500)

    def test_a_short_run_counts_as_a_second(self):
        self.assertEqual(most_per_second([(10.0, 100), (10.1, 600)]), 500)


if __name__ == "__main__":
    unittest.main()
