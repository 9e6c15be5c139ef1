package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/codegen/verifier"
	"github.com/hopgate/hopgate/compiler"
)

func (c *console) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify OBJECT",
		Short: "Check that a host will accept an object, and that it is a policy",
		Long: `Verify checks an object by the rules of eBPF for Windows' verifier, whoever
compiled it. With --policy it also proves that the object decides every connection
as the policy does, and writes the same counters and events; no proof is a no. A packed
policy of form table (.hgp) is compared in the same way.

An object for Linux is verified by its kernel. With --policy its decisions are proved, and
the code around them is compared with that of this hopgate.`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"o", "hgp"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	bind := bindFlag(cmd)
	policyFile := cmd.Flags().String("policy", "", "prove that the object is the policy of `FILE`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = run(func(args []string) error {
		v, err := verify(args[0], *policyFile, bind)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return c.printJSON(v)
		}
		for _, f := range v.Functions {
			fmt.Fprintf(c.out, "%s: verified, %d instructions\n", f.Section, f.Instructions)
		}
		for _, section := range v.Others {
			fmt.Fprintf(c.out, "%s: not verified: it is for no layer of the hook\n", section)
		}
		if v.Policy != "" {
			fmt.Fprintf(c.out, "policy %s: %s\n", v.Policy, v.Proof)
		}
		return nil
	})
	return cmd
}

// verification is what verify has found right.
type verification struct {
	Functions []verifiedFunction `json:"functions"` // none of a packed policy, or of a program for Linux
	Others    []string           `json:"not_verified,omitempty"`
	Policy    string             `json:"policy,omitempty"`
	Proof     string             `json:"proof,omitempty"`
}

type verifiedFunction struct {
	Section      string `json:"section"`
	Instructions int    `json:"instructions"` // of 8 bytes
}

// verify checks an object, and compares it or a packed policy with the policy of a file,
// if that is named.
func verify(path, policyFile string, bind bindings) (*verification, error) {
	object, err := readFile(path)
	if err != nil {
		return nil, err
	}
	v := &verification{Functions: []verifiedFunction{}}
	var table *codegen.Table
	switch {
	case !codegen.IsPack(object):
		if err = v.verify(path, object, policyFile != ""); err != nil || policyFile == "" {
			return v, err
		}
	case policyFile == "":
		return nil, misuse{errors.New("a packed policy has no instructions to verify; give --policy FILE to compare it with")}
	default:
		if table, err = codegen.ReadPack(path, object); err != nil {
			return nil, err
		}
	}
	policy, err := load(policyFile, &compiler.Options{Bind: bind})
	if err == nil {
		err = bind.check(policy)
	}
	if err != nil {
		return nil, err
	}
	var found *proof.Result
	if table != nil {
		found = proof.CheckTable(policy, table, 0)
	} else if found, err = proof.Check(policy, object, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if found.Status != proof.Proved {
		return nil, fmt.Errorf("%s is not shown to be %s: %s", path, policyFile, found)
	}
	v.Policy, v.Proof = policy.Name, found.String()
	return v, nil
}

// verify checks an object by the rules of eBPF for Windows. There is nothing of that to
// check in one for Linux, which is an error unless something else is.
func (v *verification) verify(path string, object []byte, otherwise bool) error {
	program, err := codegen.ReadObject(path, object)
	if err != nil {
		return err
	}
	if program.Target == codegen.Linux && otherwise {
		return nil
	}
	result, err := verifier.Verify(program)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, f := range result.Functions {
		v.Functions = append(v.Functions, verifiedFunction{f.Section, f.Slots})
	}
	v.Others = result.Others
	return nil
}

// verified gives a program as an object, which the verifier of eBPF for Windows accepts
// if it is for that.
func verified(program *codegen.Program) ([]byte, error) {
	var object bytes.Buffer
	if err := program.WriteELF(&object); err != nil || program.Target != codegen.Windows {
		return object.Bytes(), err
	}
	read, err := codegen.ReadObject("the compiled object", object.Bytes())
	if err != nil {
		return nil, err
	}
	switch _, err := verifier.Verify(read); {
	case errors.Is(err, codegen.ErrTooLarge):
		return nil, fmt.Errorf("policy `%s` is %w for target windows: a verifier would look at more than two million instructions on all paths [too-large]: use fewer tests of dynamic sets, or rules that overlap less",
			program.Policy, codegen.ErrTooLarge)
	case err != nil:
		return nil, fmt.Errorf("the compiled object would be refused, which is a bug of hopgate: %w", err)
	}
	return object.Bytes(), nil
}

// trust verifies what was compiled, in the form in which it is written, and proves it
// to be the policy as far as the mode wants that: auto, off or require. It records the
// outcome in the program. Nothing that is refused may be written.
func (c *console) trust(policy *compiler.Policy, program *codegen.Program, mode string, verbose bool) error {
	program.Build.Options = append(program.Build.Options, "proof="+mode)
	object, err := verified(program)
	if err != nil {
		return err
	}
	if mode == "off" {
		return nil
	}
	found, err := proof.Check(policy, object, effort(mode))
	if err != nil {
		return err
	}
	program.Build.Proof = found.Summary()
	return c.conclude("object", found, mode, verbose)
}

// trustTable proves a table to be the policy, as trust does an object, and records the
// outcome in the table.
func (c *console) trustTable(policy *compiler.Policy, table *codegen.Table, mode string, verbose bool) error {
	record := func(outcome string) error {
		return table.Revise(func(d *codegen.TableDescription) {
			d.Build.Options, d.Build.Proof = append(d.Build.Options, "proof="+mode), outcome
		})
	}
	switch {
	case mode == "off":
		return record("")
	case table.Target == codegen.Windows:
		found := proof.CheckTable(policy, table, effort(mode))
		return cmp.Or(record(found.Summary()), c.conclude("table", found, mode, verbose))
	case mode == "require":
		return fmt.Errorf("tables for target %s cannot be proved; leave --proof require out", table.Target)
	}
	if verbose {
		fmt.Fprintf(c.err, "not proved: a table for target %s is not compared with the policy\n", table.Target)
	}
	return record("")
}

// effort is what a proof may cost; 0 is all it needs.
func effort(mode string) int {
	if mode == "require" {
		return 0
	}
	return proof.DefaultEffort
}

// conclude says what a proof of something compiled has found out.
func (c *console) conclude(what string, found *proof.Result, mode string, verbose bool) error {
	switch {
	case found.Status == proof.Refuted:
		return fmt.Errorf("the compiled %s is not the policy, which is a bug of hopgate: %s", what, found)
	case found.Status == proof.Refused:
		return fmt.Errorf("the compiled %s cannot be compared with the policy, which is a bug of hopgate: %s", what, found)
	case found.Status == proof.Proved && verbose:
		fmt.Fprintf(c.err, "%s in %s\n", found, found.Duration.Round(time.Millisecond))
	case found.Status == proof.Tested && mode == "require":
		return fmt.Errorf("the compiled %s could not be proved: %s", what, found)
	case found.Status == proof.Tested:
		fmt.Fprintf(c.err, "hopgate: note: %s\n", strings.TrimSpace(found.String()))
	}
	return nil
}
