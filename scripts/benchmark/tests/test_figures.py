import unittest

from benchmark.figures import median_interval, paired_ratios, spread


class Figures(unittest.TestCase):
    def test_ratios_are_taken_within_a_round(self):
        self.assertEqual(paired_ratios({1: 4.0, 2: 9.0, 3: 1.0}, {2: 3.0, 1: 2.0}), [2.0, 3.0])

    def test_spread(self):
        self.assertEqual(spread([3, 1, 2], "{:.1f}"), "1.0 / 2.0 / 3.0")

    def test_an_interval_needs_six_values(self):
        self.assertIsNone(median_interval([1, 2, 3, 4, 5]))
        self.assertEqual(median_interval([1, 2, 3, 4, 5, 6]), (1, 6))

    def test_the_interval_is_that_of_the_tables(self):
        # The sign test at 95 %: for 31 values the 10th and the 22nd, for 20 the 6th and the 15th.
        self.assertEqual(median_interval(range(1, 32)), (10, 22))
        self.assertEqual(median_interval(range(20, 0, -1)), (6, 15))


if __name__ == "__main__":
    unittest.main()
