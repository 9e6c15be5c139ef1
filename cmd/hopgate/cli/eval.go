package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
)

func (c *console) evalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eval FILE (--given 'FIELD=VALUE,...' | --requests FILE)",
		Short: "Ask a policy about connections",
		Long: `Eval says what a policy decides on a connection, or on each of a file of requests:
one JSON object a line, with the fields of the language as keys and their literals
as strings or numbers. Each line is answered by one line, but for blank ones, which
are no requests. Fields of the network context that are not given are
unknown. Interfaces that are not bound get a LUID of their own.`,
		Example: `  hopgate eval corp.hop --given 'interface_type=wifi, remote=10.0.0.9:445/tcp'
  echo '{"interface_type":"wifi","remote":"10.0.0.9:445","protocol":"tcp"}' | hopgate eval corp.hop --requests -`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	given := cmd.Flags().String("given", "", "one request: `FIELD=VALUE,...`")
	requests := cmd.Flags().String("requests", "", "a `FILE` of requests, one JSON object a line; - is standard input")
	with := choiceFlag(cmd, "engine", "what decides: the rules as written, the compiled program, or the engine of form table", "reference", "vm", "table")
	explain := cmd.Flags().Bool("explain", false, "add each rule up to the one that decides, and why it matched or did not")
	asJSON := cmd.Flags().Bool("json", false, "print the answer as JSON, as --requests always does")
	cmd.RunE = run(func(args []string) error {
		if cmd.Flags().Changed("given") == (*requests != "") {
			return misuse{errors.New("give one of --given and --requests")}
		}
		policy, err := load(args[0], &compiler.Options{Bind: bind, BindAll: true})
		if err != nil {
			return err
		}
		if err := bind.check(policy); err != nil {
			return err
		}
		c.noteEnforced(args[0], policy)
		policy = policy.Enforced()
		decide := referenceEngine(policy)
		switch with.value {
		case "vm":
			decide, err = hookEngine(policy)
		case "table":
			decide, err = tableEngine(policy)
		}
		if err != nil {
			return err
		}
		if *explain {
			decide = explained(decide, policy)
		}
		if *requests != "" {
			return c.answerFile(*requests, policy, decide)
		}
		request, err := policy.RequestFromText(*given)
		if err != nil {
			return misuse{fmt.Errorf("--given: %w", err)}
		}
		a, err := decide(&request)
		if err != nil {
			return err
		}
		if *asJSON {
			return c.printJSONLine(a)
		}
		fmt.Fprintln(c.out, a.text())
		for _, line := range a.Explanation {
			fmt.Fprintf(c.out, "    %s\n", line)
		}
		return nil
	})
	return cmd
}

// answerFile answers the requests in a file.
func (c *console) answerFile(path string, policy *compiler.Policy, decide engine) error {
	if path == "-" {
		return c.answerLines(c.in, policy, decide)
	}
	f, err := os.Open(path)
	if err != nil {
		return unreadable(path, err)
	}
	defer f.Close()
	return c.answerLines(f, policy, decide)
}
