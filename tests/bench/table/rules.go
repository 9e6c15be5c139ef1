//go:build linux

package main

import (
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/measure"
)

// rules measures policies of ClassBench.
func rules() error {
	section("Rule sets of ClassBench",
		"From the checked policy to the encoded object with all six programs; loading the egress program, and all six; nanoseconds over an empty program.",
		"rules", "compile, ms", "load egress, ms", "load all, ms", "egress, ns", "with counters, ns", "connect4, ns", "instructions of egress")
	for _, r := range []struct {
		set                  string
		compile, load, nanos float64 // goals
	}{
		{"one_rule", 0, 0, 0},
		{"acl1_1000", 50, 50, 100}, {"fw1_1000", 50, 50, 100}, {"ipc1_1000", 50, 50, 100},
		{"acl1_10000", 1000, 500, 200}, {"fw1_10000", 1000, 500, 200},
		{"acl1_100000", 10000, 5000, 400},
	} {
		policy, err := classbench.Set(r.set)
		if err != nil {
			return err
		}
		c, err := measure.Policy(policy)
		if err != nil {
			return err
		}
		counted := "refused"
		if c.Counted > 0 {
			counted = number(c.Counted)
		}
		row(r.set, atMost(milliseconds(c.Compile), r.compile), atMost(milliseconds(c.LoadEgress), r.load), atMost(milliseconds(c.LoadAll), 0),
			atMost(c.Egress, r.nanos), counted, atMost(c.Connect, r.nanos), number(float64(c.Instructions)))
	}
	return nil
}
