package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
)

func (c *console) testCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run the tests that policies contain",
		Long: `Test decides on the request of every test in the policies and compares verdict and
rule with what the test expects. Interfaces that are not bound get a LUID of their
own.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	verbose := cmd.Flags().BoolP("verbose", "v", false, "print every test, not only those that fail")
	asJSON := cmd.Flags().Bool("json", false, "print the results as a JSON array")
	cmd.RunE = run(func(paths []string) error {
		results := []testResult{}
		var policies []*compiler.Policy
		failed := false
		for _, path := range paths {
			policy, err := load(path, &compiler.Options{Bind: bind, BindAll: true})
			if err != nil {
				c.report(err)
				failed = true
				continue
			}
			policies = append(policies, policy)
			c.noteEnforced(path, policy)
			more := runTests(policy)
			bad := 0
			for _, r := range more {
				if !r.Passed {
					bad++
				}
				if !*asJSON && (*verbose || !r.Passed) {
					fmt.Fprintln(c.out, r.text())
				}
			}
			if !*asJSON {
				fmt.Fprintln(c.out, summary(path, len(more), bad))
			}
			failed = failed || bad > 0
			results = append(results, more...)
		}
		if *asJSON {
			if err := c.printJSON(results); err != nil {
				return err
			}
		}
		if failed {
			return errSaid
		}
		return bind.check(policies...)
	})
	return cmd
}

// testResult is the outcome of one test.
type testResult struct {
	Place    string `json:"place"` // file:line:col
	Passed   bool   `json:"passed"`
	Expected answer `json:"expected"`
	Got      answer `json:"got"`
}

// runTests decides on the tests of a policy, judged as if enforced.
func runTests(policy *compiler.Policy) []testResult {
	decide := referenceEngine(policy.Enforced())
	var results []testResult
	for i := range policy.Tests {
		t := &policy.Tests[i]
		got, _ := decide(&t.Request) // the reference has an answer to everything
		want := answer{Verdict: t.Expect.String(), Rule: t.By}
		results = append(results, testResult{
			Place:    t.Span.String(),
			Passed:   got.Verdict == want.Verdict && (want.Rule == "" || got.Rule == want.Rule),
			Expected: want,
			Got:      got,
		})
	}
	return results
}

// text is the result for a person.
func (r testResult) text() string {
	if r.Passed {
		return fmt.Sprintf("PASS %s: %s", r.Place, r.Got.text())
	}
	return fmt.Sprintf("FAIL %s: expected %s, got %s", r.Place, r.Expected.text(), r.Got.text())
}

func summary(path string, tests, bad int) string {
	switch {
	case tests == 0:
		return fmt.Sprintf("%s: no tests", path)
	case bad > 0:
		return fmt.Sprintf("%s: %d of %d tests failed", path, bad, tests)
	}
	return fmt.Sprintf("%s: %d tests passed", path, tests)
}

// noteEnforced says that a policy with audit rules, or in audit mode, is judged as
// if it were enforced.
func (c *console) noteEnforced(path string, policy *compiler.Policy) {
	audit := policy.AuditMode
	for i := range policy.Rules {
		audit = audit || policy.Rules[i].Audit
	}
	if audit {
		fmt.Fprintf(c.err, "%s: note: judged as if enforced: audit is left out of account\n", path)
	}
}
