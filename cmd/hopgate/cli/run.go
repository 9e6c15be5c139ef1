package cli

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
)

func (c *console) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run FILE [-- COMMAND ARGS...]",
		Short: "Put a policy in force",
		Long: `Run attaches a policy to the authorization hook and keeps it in force until it is
interrupted. With --hook inprocess that is a hook in this process, which answers
request lines from standard input: one JSON object a line, as for eval --requests,
where blank lines get no answer.
It must be named: run never falls back to it.

On Linux the policy judges the processes of a cgroup, and prints a line for each
decision of a rule that logs. With a COMMAND it is run inside, in a cgroup of its own
unless --cgroup names one, and the policy is in force as long as it runs. SIGHUP and
changes of the policy's files load it again; a policy that has errors leaves the one
before in force. Sockets that a process has made before it came into the cgroup, and
AF_PACKET sockets, are not judged.

On Windows the policy judges all processes. Interfaces that it names are looked up
again when the host's change. A host that loads signed drivers only takes the engine
(compile --form table) as --driver, and the policy as its table; docs/windows.md has
the steps, and those for a service.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	hook := choiceFlag(cmd, "hook", "where the policy is attached; auto is this host's own hook", "auto", "inprocess", "linux", "windows")
	opts := kernelFlags(cmd)
	cmd.RunE = run(func(args []string) error {
		command := args[1:]
		if at := cmd.ArgsLenAtDash(); len(command) > 0 && at != 1 {
			return misuse{errors.New("one policy; a command goes after `--`")}
		}
		opts.check = &compiler.Options{Bind: bind, BindAll: hook.value == "inprocess"}
		opts.path, opts.command = args[0], command
		if hook.value == "auto" || hook.value == runtime.GOOS {
			return c.runKernel(opts, bind)
		}
		if hook.value != "inprocess" {
			return fmt.Errorf("--hook %s needs a host of that system; --hook inprocess answers requests in this process", hook.value)
		}
		if len(command) > 0 {
			return misuse{errors.New("--hook inprocess runs no command")}
		}
		policy, err := load(opts.path, opts.check)
		if err != nil {
			return err
		}
		if err := bind.check(policy); err != nil {
			return err
		}
		c.print(policy.Warnings)
		decide, err := hookEngine(policy)
		if err != nil {
			return err
		}
		return c.answerLines(c.in, policy, decide)
	})
	return cmd
}

// kernelOptions say how a policy is put in force in this host's kernel.
type kernelOptions struct {
	cgroup, pin  string
	connectStage *choice
	udpReplies   *choice
	json         bool
	verifierLog  bool
	driver       string
	form         *choice
	service      bool

	path    string
	command []string
	check   *compiler.Options
}

func kernelFlags(cmd *cobra.Command) *kernelOptions {
	o := &kernelOptions{}
	cmd.Flags().StringVar(&o.cgroup, "cgroup", "", "judge the processes of the cgroup v2 directory `PATH`")
	cmd.Flags().StringVar(&o.pin, "pin", "", "keep the policy in force after the end, pinned in `DIR` on a BPF file system")
	o.connectStage = choiceFlag(cmd, "connect-stage", "off leaves TCP connections to the packet stage: where nftables reroutes", "on", "off")
	o.udpReplies = choiceFlag(cmd, "udp-replies", "leave does not judge datagrams to a peer that has sent first, as to a server's clients; on Linux, in form code", "judge", "leave")
	cmd.Flags().BoolVar(&o.json, "json", false, "print decisions as JSON")
	cmd.Flags().BoolVar(&o.verifierLog, "verifier-log", false, "print the kernel verifier's log when it refuses a program")
	cmd.Flags().StringVar(&o.driver, "driver", "", "on Windows, load the signed driver `FILE`.sys")
	cmd.Flags().BoolVar(&o.service, "service", false, "on Windows, run as a service, which the service control manager starts and stops")
	o.form = choiceFlag(cmd, "form", "the policy as instructions, or as a table for the engine; auto is code where that loads, and on Windows a table with --driver", "auto", "code", "table")
	return o
}
