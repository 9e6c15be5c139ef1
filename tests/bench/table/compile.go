//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/verifier"
	"github.com/hopgate/hopgate/tests/classbench"
	"github.com/hopgate/hopgate/tests/gen"
	"github.com/hopgate/hopgate/tests/measure"
)

// windows measures mixed policies for eBPF for Windows.
func windows() error {
	section("Mixed rules for eBPF for Windows",
		"Remote prefixes with ports, protocols, interface types and local prefixes, one rule in a hundred for IPv6 (gen.Mixed). Compiling and verifying, by codegen/verifier, are with counters.",
		"rules", "compile, ms", "instructions for IPv4", "for IPv6", "with counters for IPv4", "for IPv6", "verify, ms", "verify a rule, µs")
	for _, n := range []int{250, 500, 1000, 2000, 4000} {
		policy, err := gen.MixedPolicy(n)
		if err != nil {
			return err
		}
		c, err := measure.Compile(policy, codegen.Windows, true, 3)
		if err != nil {
			return err
		}
		plain, err := measure.Compile(policy, codegen.Windows, false, 1)
		if err != nil {
			return err
		}
		took := time.Duration(math.MaxInt64)
		for range 3 {
			start := time.Now()
			if _, err := verifier.Verify(c.Program); err != nil {
				return err
			}
			took = min(took, time.Since(start))
		}
		goal := map[int]float64{1000: 5000}[n]
		row(number(float64(n)), number(milliseconds(c.Took)),
			atMost(float64(plain.Instructions("connect_authorization4")), goal), atMost(float64(plain.Instructions("connect_authorization6")), goal),
			number(float64(c.Instructions("connect_authorization4"))), number(float64(c.Instructions("connect_authorization6"))), number(milliseconds(took)), number(float64(took.Microseconds())/float64(n)))
	}
	return nil
}

// growth measures how compile time grows with a policy, by families of rule sets.
func growth() error {
	section("Growth of compile time",
		"Target linux, without counters; the first rows by rules like those of ClassBench that the test's own generator makes, seed 1. In brackets twice n log n, from a thousand rules on.",
		"rules", "1 000, ms", "10 000, ms", "100 000, ms")
	sizes := []int{1000, 10_000, 100_000}
	times := func(policy func(n int) (*measure.Compiled, error)) ([]string, error) {
		var cells []string
		var first float64
		for _, n := range sizes {
			c, err := policy(n)
			if errors.Is(err, codegen.ErrTooLarge) {
				cells = append(cells, "too large")
				continue
			}
			if err != nil {
				return nil, err
			}
			took, goal := milliseconds(c.Took), 0.0
			if first == 0 {
				first = took
			} else {
				goal = 2 * first * float64(n) * math.Log(float64(n)) / (1000 * math.Log(1000))
			}
			cells = append(cells, atMost(took, goal))
		}
		return cells, nil
	}
	for _, f := range classbench.Families() {
		cells, err := times(func(n int) (*measure.Compiled, error) {
			policy, err := f.Policy(1, n)
			if err != nil {
				return nil, err
			}
			return measure.Compile(policy, codegen.Linux, false, 1+4000/n)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		row(append([]string{f.Name + "-like"}, cells...)...)
	}
	cells, err := times(func(n int) (*measure.Compiled, error) {
		policy, err := classbench.Set(fmt.Sprintf("acl1_%d", n))
		if err != nil {
			return nil, err
		}
		return measure.Compile(policy, codegen.Linux, false, 1+4000/n)
	})
	if err != nil {
		return err
	}
	row(append([]string{"acl1"}, cells...)...)
	return nil
}
