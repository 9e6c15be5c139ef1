package cli

import (
	"bytes"
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
as the policy does, and writes the same counters and events; no proof is a no.`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"o"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	bind := bindFlag(cmd)
	policyFile := cmd.Flags().String("policy", "", "prove that the object is the policy of `FILE`")
	cmd.RunE = run(func(args []string) error {
		path := args[0]
		object, err := readFile(path)
		if err != nil {
			return err
		}
		program, err := codegen.ReadObject(path, object)
		if err != nil {
			return err
		}
		result, err := verifier.Verify(program)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, f := range result.Functions {
			fmt.Fprintf(c.out, "%s: verified, %d instructions\n", f.Section, f.Slots)
		}
		if *policyFile == "" {
			return nil
		}
		policy, err := load(*policyFile, &compiler.Options{Bind: bind})
		if err != nil {
			return err
		}
		if err := bind.check(policy); err != nil {
			return err
		}
		found, err := proof.Check(policy, object, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if found.Status != proof.Proved {
			return fmt.Errorf("%s is not shown to be %s: %s", path, *policyFile, found)
		}
		fmt.Fprintf(c.out, "policy %s: %s\n", policy.Name, found)
		return nil
	})
	return cmd
}

// leastProof is what a proof gets at least when it may take as long as the compile:
// enough for a thousand rules, so that how busy the machine is seldom shows.
const leastProof = 500 * time.Millisecond

// trust verifies what was compiled, in the form in which it is written, and proves it
// to be the policy as far as the mode wants that: auto, off or require. It records the
// outcome in the program. Nothing that is refused may be written.
func (c *console) trust(policy *compiler.Policy, program *codegen.Program, mode string, took time.Duration, verbose bool) error {
	program.Build.Options = append(program.Build.Options, "proof="+mode)
	if program.Target != codegen.Windows {
		if mode == "require" {
			return fmt.Errorf("programs for target %s cannot be proved; leave --proof require out", program.Target)
		}
		return nil
	}
	var object bytes.Buffer
	if err := program.WriteELF(&object); err != nil {
		return err
	}
	read, err := codegen.ReadObject("the compiled object", object.Bytes())
	if err != nil {
		return err
	}
	if _, err := verifier.Verify(read); err != nil {
		return fmt.Errorf("the compiled object would be refused, which is a bug of hopgate: %w", err)
	}
	budget := max(took, leastProof)
	switch mode {
	case "off":
		return nil
	case "require":
		budget = 0
	}
	found, err := proof.Check(policy, object.Bytes(), budget)
	if err != nil {
		return err
	}
	program.Build.Proof = found.Status.String()
	switch {
	case found.Status == proof.Refuted:
		return fmt.Errorf("the compiled object is not the policy, which is a bug of hopgate: %s", found)
	case found.Status == proof.Refused:
		return fmt.Errorf("the compiled object cannot be compared with the policy, which is a bug of hopgate: %s", found)
	case found.Status == proof.Proved && verbose:
		fmt.Fprintf(c.err, "%s in %s\n", found, found.Duration.Round(time.Millisecond))
	case found.Status == proof.Tested && mode == "require":
		return errors.New("the compiled object could not be proved: " + found.String())
	case found.Status == proof.Tested:
		fmt.Fprintf(c.err, "hopgate: note: %s\n", strings.TrimSpace(found.String()))
	}
	return nil
}
