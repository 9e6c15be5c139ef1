package cli

import (
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

func (c *console) compileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compile FILE",
		Short: "Compile a policy to an eBPF object",
		Long: `Compile writes a policy as an eBPF object (obj), or its instructions as a listing
with the policy's source lines (asm). Objects go to FILE with the extension .o,
listings to standard output. With --form table the object is the engine, the same for
every policy, and the policy goes beside it with the extension .hgp.

Every object is verified by the rules of eBPF for Windows and proved to be the policy
before it is written. What takes too many steps to prove is tested, and compile says so;
--proof require refuses it. With --emit json the output is what is in the object.

With --emit svg or dot the output is a picture of how the policy decides, for a browser
or for Graphviz; it needs no --bind.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: policyFiles,
	}
	bind := bindFlag(cmd)
	output := cmd.Flags().StringP("output", "o", "", "write to `FILE`; - is standard output")
	target := choiceFlag(cmd, "target", "the system the program is for", codegen.Windows.String(), codegen.Linux.String())
	form := choiceFlag(cmd, "form", "the policy as instructions, or as a table for the engine that all policies share", "code", "table")
	emit := choiceFlag(cmd, "emit", "what to write", "obj", "asm", "json", "dot", "svg")
	noCounters := cmd.Flags().Bool("no-counters", false, "do not count decisions by rule")
	proof := proofFlag(cmd)
	verbose := cmd.Flags().BoolP("verbose", "v", false, "say what was made on standard error")
	cmd.RunE = run(func(args []string) error {
		path := args[0]
		policy, err := load(path, &compiler.Options{Bind: bind})
		if err != nil {
			return err
		}
		if err := bind.check(policy); err != nil {
			return err
		}
		c.print(policy.Warnings)
		if emit.value == "dot" || emit.value == "svg" {
			return c.drawPolicy(policy, *output, emit.value)
		}
		opts := &codegen.Options{NoCounters: *noCounters}
		if err := opts.Target.UnmarshalText([]byte(target.value)); err != nil {
			return err
		}
		if form.value == "table" {
			return c.compileTable(path, *output, emit.value == "asm", policy, opts, proof.value, *verbose)
		}
		program, diagram, err := generate(policy, opts)
		if err != nil {
			return err
		}
		nameSources(program, filepath.Dir(path))
		steps := kernelSteps(program)
		if *verbose {
			c.describe(diagram, program, steps)
		}
		c.warnOfSteps(program, steps)
		if err := c.trust(policy, program, proof.value, *verbose); err != nil {
			return err
		}
		write := program.WriteELF
		to := *output
		switch {
		case emit.value == "asm":
			write = program.WriteASM
		case emit.value == "json":
			write = func(w io.Writer) error { return writeJSON(w, program.Describe()) }
		case to == "":
			to = withoutExtension(path) + ".o"
		}
		if to == "" || to == "-" {
			return write(c.out)
		}
		return writeFile(to, write)
	})
	return cmd
}

// generate compiles a policy. The hash is one of its meaning: the same for both
// spellings, whatever interfaces are bound to. Without counters nobody sees which of two
// like rules decided, so they may share code.
func generate(policy *compiler.Policy, opts *codegen.Options) (*codegen.Program, *compiler.Diagram, error) {
	diagram, err := compiler.Compile(policy, &compiler.CompileOptions{
		MergeRules:     opts.NoCounters,
		FreeInterfaces: opts.Target == codegen.Linux, // named devices are told to the program while it runs
		Room:           opts.Target.Room(),
	})
	if err != nil {
		return nil, nil, err
	}
	program, err := codegen.Generate(diagram, opts)
	if err != nil {
		return nil, nil, err
	}
	program.Build = codegen.Build{
		Version:      version(),
		PolicySHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(policy.String()))),
		Options:      []string{fmt.Sprintf("counters=%t", !opts.NoCounters)},
	}
	return program, diagram, nil
}

// kernelSteps is what the kernel's verifier walks of each function of a program for Linux.
func kernelSteps(program *codegen.Program) []int {
	if program.Target != codegen.Linux {
		return nil
	}
	var steps []int
	for i := range program.Functions {
		steps = append(steps, program.Functions[i].KernelWalk().Steps)
	}
	return steps
}

// describe says what compile made, and why so.
func (c *console) describe(diagram *compiler.Diagram, program *codegen.Program, steps []int) {
	fmt.Fprintf(c.err, "policy %s: %d rules\n", program.Policy, len(diagram.Policy.Rules))
	fmt.Fprintf(c.err, "IPv4: %s\n", diagram.IPv4.Plan)
	fmt.Fprintf(c.err, "IPv6: %s\n", diagram.IPv6.Plan)
	for _, s := range diagram.Policy.Sets {
		fmt.Fprintf(c.err, "set %s: %d ranges, looked up in tables of %d KB\n", s.Name, len(s.Ranges), (program.SetBytes(s)+1023)/1024)
	}
	for i, f := range program.Describe().Functions {
		fmt.Fprintf(c.err, "%s: %d instructions", f.Section, f.Instructions)
		if steps != nil {
			fmt.Fprintf(c.err, "; the kernel's verifier walks about %d of %d", steps[i], codegen.MaxKernelSteps)
		}
		fmt.Fprintln(c.err)
	}
}

// warnOfSteps says where the kernel's verifier may refuse what it is thought to take.
func (c *console) warnOfSteps(program *codegen.Program, steps []int) {
	for i, n := range steps {
		if n > codegen.MaxKernelSteps/10*9 {
			fmt.Fprintf(c.err, "hopgate: %s may be too large for the kernel's verifier, which walks about %d instructions of it; its limit is %d\n",
				program.Functions[i].Name, n, codegen.MaxKernelSteps)
		}
	}
}
