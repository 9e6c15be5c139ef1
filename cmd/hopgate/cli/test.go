package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
)

func (c *console) testCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run the tests of policies",
		Long: `Test decides on the request of every test in the policies, and in NAME_test.yaml
beside a policy NAME, and compares verdict and rule with what the test expects. A
test that fails is printed with each rule up to the one that decided and why it did
not match. Interfaces that are not bound get a LUID of their own.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	verbose := cmd.Flags().BoolP("verbose", "v", false, "print every test, not only those that fail")
	asJSON := cmd.Flags().Bool("json", false, "print the results as a JSON array, one element a policy")
	junit := cmd.Flags().String("junit", "", "write the results as JUnit XML to `FILE`")
	coverage := cmd.Flags().Bool("coverage", false, "say which rules and conditions no test decides")
	threshold := cmd.Flags().Float64("threshold", 0, "the `PERCENT` of rules and conditions that tests must cover")
	cmd.RunE = run(func(paths []string) error {
		if *threshold < 0 || *threshold > 100 {
			return misuse{fmt.Errorf("--threshold: %g is not a percentage", *threshold)}
		}
		results := []testedPolicy{}
		failed, err := c.judge(paths, bind, compiler.Options{BindAll: true}, func(path string, policy *compiler.Policy) {
			results = append(results, runTests(path, policy, *coverage || *threshold > 0))
		})
		if err != nil {
			return err
		}
		for _, r := range results {
			failed = failed || r.failures() > 0 || r.Coverage != nil && r.Coverage.Percent < *threshold
		}
		if *junit != "" {
			if err := writeFile(*junit, func(w io.Writer) error { return writeJUnit(w, results) }); err != nil {
				return err
			}
		}
		if !*asJSON {
			c.printResults(results, *verbose, *threshold)
		} else if err := c.printJSON(results); err != nil {
			return err
		}
		if failed {
			return errSaid
		}
		return nil
	})
	return cmd
}

// testedPolicy is the outcome of a policy's tests.
type testedPolicy struct {
	File     string          `json:"file"`
	Policy   string          `json:"policy"`
	Tests    []testResult    `json:"tests"`
	Coverage *coverageResult `json:"coverage,omitempty"`
}

func (p *testedPolicy) failures() int {
	n := 0
	for _, t := range p.Tests {
		if !t.Passed {
			n++
		}
	}
	return n
}

// testResult is the outcome of one test.
type testResult struct {
	Place    string `json:"place"` // file:line:col
	Given    string `json:"given"` // as the DSL has it
	Passed   bool   `json:"passed"`
	Expected answer `json:"expected"`
	Got      answer `json:"got"` // explained if it is not as expected
}

// runTests decides on the tests of a policy, judged as if enforced.
func runTests(path string, policy *compiler.Policy, coverage bool) testedPolicy {
	policy = policy.Enforced()
	result := testedPolicy{File: path, Policy: policy.Name, Tests: []testResult{}}
	covered := compiler.NewCoverage(policy)
	for i := range policy.Tests {
		t := &policy.Tests[i]
		covered.Add(&t.Request)
		d := policy.Eval(&t.Request)
		r := testResult{
			Place:    t.Span.String(),
			Given:    policy.RequestText(&t.Request),
			Passed:   d.Verdict == t.Expect && (t.By == "" || t.By == policy.RuleID(d.Rule)),
			Expected: answer{Verdict: t.Expect.String(), Rule: t.By},
			Got:      newAnswer(policy, d),
		}
		if !r.Passed {
			r.Got.Explanation = explanation(policy, &t.Request)
		}
		result.Tests = append(result.Tests, r)
	}
	if coverage {
		result.Coverage = newCoverageResult(covered)
	}
	return result
}

func (c *console) printResults(results []testedPolicy, verbose bool, threshold float64) {
	for _, p := range results {
		for _, t := range p.Tests {
			switch {
			case !t.Passed:
				fmt.Fprintf(c.out, "FAIL %s: expected %s, got %s\n    given %s\n    %s\n",
					t.Place, t.Expected.text(), t.Got.text(), t.Given, strings.Join(t.Got.Explanation, "\n    "))
			case verbose:
				fmt.Fprintf(c.out, "PASS %s: %s\n", t.Place, t.Got.text())
			}
		}
		switch bad := p.failures(); {
		case len(p.Tests) == 0:
			fmt.Fprintf(c.out, "%s: no tests\n", p.File)
		case bad > 0:
			fmt.Fprintf(c.out, "%s: %d of %d tests failed\n", p.File, bad, len(p.Tests))
		case len(p.Tests) == 1:
			fmt.Fprintf(c.out, "%s: 1 test passed\n", p.File)
		default:
			fmt.Fprintf(c.out, "%s: %d tests passed\n", p.File, len(p.Tests))
		}
		if p.Coverage != nil {
			c.printCoverage(p.File, p.Coverage, threshold)
		}
	}
}
