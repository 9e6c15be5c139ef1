package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

func (c *console) proveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prove FILE...",
		Short: "Prove the asserts of policies for every connection",
		Long: `Prove decides, for each assert of the policies and of NAME_test.yaml beside a
policy NAME, whether it holds for every connection there can be, whatever dynamic
sets hold and whatever unbound interfaces are. If not, it prints a connection that
shows it. Where the condition of an assert is unknown, ` + "`never allow` and `always\ndeny` still apply, `never deny` and `always allow`" + ` do not.

With --never or --always it proves that instead.`,
		Example:           `  hopgate prove corp.hop --never 'allow if interface_type == wifi and remote_port == 23'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	nevers := cmd.Flags().StringArray("never", nil, "prove that no connection gets `'VERDICT if ...'`")
	alwayses := cmd.Flags().StringArray("always", nil, "prove that all connections get `'VERDICT if ...'`")
	asJSON := cmd.Flags().Bool("json", false, "print the results as a JSON array")
	cmd.RunE = run(func(paths []string) error {
		claims, err := parseClaims(*nevers, *alwayses)
		if err != nil {
			return err
		}
		results := []proofResult{}
		failed, err := c.judge(paths, bind, compiler.Options{Asserts: claims}, func(path string, policy *compiler.Policy) {
			if n := len(claims); n > 0 {
				policy.Asserts = policy.Asserts[len(policy.Asserts)-n:]
			}
			results = append(results, prove(path, policy)...)
			if len(policy.Asserts) == 0 && !*asJSON {
				fmt.Fprintf(c.out, "%s: no asserts\n", path)
			}
		})
		if err != nil {
			return err
		}
		for _, r := range results {
			failed = failed || r.Result != proved
			if !*asJSON {
				fmt.Fprint(c.out, r.text())
			}
		}
		if *asJSON {
			if err := c.printJSON(results); err != nil {
				return err
			}
		}
		if failed {
			return errSaid
		}
		return nil
	})
	return cmd
}

// parseClaims makes asserts of --never and --always. Each is called by its text.
func parseClaims(nevers, alwayses []string) ([]*lang.Assert, error) {
	var claims []*lang.Assert
	add := func(always bool, word, text string) error {
		a, err := lang.ParseClaim("--"+word, always, []byte(text))
		if err != nil {
			return misuse{err}
		}
		a.ID.Text = word + " " + text
		claims = append(claims, a)
		return nil
	}
	for _, text := range nevers {
		if err := add(false, "never", text); err != nil {
			return nil, err
		}
	}
	for _, text := range alwayses {
		if err := add(true, "always", text); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// Results of a proof.
const (
	proved    = "proved"
	fails     = "fails"
	undecided = "undecided"
)

// proofResult is what became of one assert.
type proofResult struct {
	File           string   `json:"file"`
	Assert         string   `json:"assert"` // its id, or the text of --never or --always
	Place          string   `json:"place"`  // file:line:col
	Result         string   `json:"result"` // proved, fails or undecided
	Counterexample *example `json:"counterexample,omitempty"`
}

// example is a connection that shows something.
type example struct {
	Given   string            `json:"given"`   // as --given and tests have it
	Request map[string]string `json:"request"` // as --requests has it
	While   []string          `json:"while,omitempty"`
	answer
}

// newExample shows what a policy decides on a witness.
func newExample(p *compiler.Policy, w *compiler.Witness, d compiler.Decision) *example {
	e := &example{Request: map[string]string{}, While: w.Needs(), answer: newAnswer(p, d)}
	p = w.Under(p)
	e.Given = p.RequestText(&w.Request)
	for _, g := range p.Givens(&w.Request) {
		e.Request[g.Field] = g.Literal
	}
	return e
}

// prove decides the asserts of a policy.
func prove(path string, policy *compiler.Policy) []proofResult {
	var results []proofResult
	for _, proof := range compiler.Prove(policy) {
		r := proofResult{File: path, Assert: proof.Assert.ID, Place: proof.Assert.Span.String(), Result: undecided}
		switch {
		case proof.Holds:
			r.Result = proved
		case !proof.Undecided():
			r.Result = fails
			r.Counterexample = newExample(policy, &proof.Counterexample.Witness, proof.Counterexample.Decision)
		}
		results = append(results, r)
	}
	return results
}

// text is the result for a person.
func (r *proofResult) text() string {
	switch r.Result {
	case proved:
		return fmt.Sprintf("PROVED %s: %s\n", r.File, r.Assert)
	case undecided:
		return fmt.Sprintf("UNDECIDED %s: %s\n    the search took more than %d steps\n", r.File, r.Assert, compiler.ProofSteps)
	}
	text := fmt.Sprintf("FAILS %s: %s\n    given: %s\n", r.File, r.Assert, r.Counterexample.Given)
	for _, need := range r.Counterexample.While {
		text += fmt.Sprintf("    while: %s\n", need)
	}
	return text + fmt.Sprintf("    got: %s\n", r.Counterexample.answer.text())
}
