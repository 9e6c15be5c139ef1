package cli

import (
	"fmt"
	"math"

	"github.com/hopgate/hopgate/compiler"
)

// coverageResult is what the tests of a policy cover: rules that decided, and
// comparisons that were a reason to match and a reason not to.
type coverageResult struct {
	Percent float64        `json:"percent"`
	Rules   []ruleCoverage `json:"rules"`
}

type ruleCoverage struct {
	Rule    string         `json:"rule"`
	Decided int            `json:"decided"` // tests
	Atoms   []atomCoverage `json:"conditions,omitempty"`
}

type atomCoverage struct {
	Condition string `json:"condition"`
	Match     int    `json:"match"` // tests for which it was a reason for the rule to match
	Miss      int    `json:"miss"`  // tests for which it was a reason not to
}

func newCoverageResult(c *compiler.Coverage) *coverageResult {
	// Rounded down, so that 100 means all.
	r := &coverageResult{Percent: math.Floor(c.Ratio()*1000) / 10}
	for _, rule := range c.Rules {
		rc := ruleCoverage{Rule: rule.Rule, Decided: rule.Decided}
		for _, a := range rule.Atoms {
			rc.Atoms = append(rc.Atoms, atomCoverage{a.Cond, a.Match, a.Miss})
		}
		r.Rules = append(r.Rules, rc)
	}
	return r
}

// printCoverage prints the share that is covered and what is not.
func (c *console) printCoverage(file string, r *coverageResult, threshold float64) {
	fmt.Fprintf(c.out, "%s: coverage %.1f%%", file, r.Percent)
	if r.Percent < threshold {
		fmt.Fprintf(c.out, ", below the threshold of %g%%", threshold)
	}
	fmt.Fprintln(c.out)
	for _, rule := range r.Rules {
		if rule.Decided == 0 {
			fmt.Fprintf(c.out, "    rule %s decides no test\n", rule.Rule)
		}
		for _, a := range rule.Atoms {
			if a.Match == 0 {
				fmt.Fprintf(c.out, "    rule %s: no test matches because of %s\n", rule.Rule, a.Condition)
			}
			if a.Miss == 0 {
				fmt.Fprintf(c.out, "    rule %s: no test fails to match because of %s\n", rule.Rule, a.Condition)
			}
		}
	}
}
