package cli

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// bindings is the value of --bind: LUIDs of named interfaces.
type bindings map[string]uint64

func (b bindings) Type() string { return "NAME=LUID" }

func (b bindings) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(b)) {
		pairs = append(pairs, fmt.Sprintf("%s=%#x", name, b[name]))
	}
	return strings.Join(pairs, ",")
}

func (b bindings) Set(text string) error {
	name, luid, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return errors.New("want NAME=LUID, such as vpn=0x0035008000000000")
	}
	if _, twice := b[name]; twice {
		return fmt.Errorf("`%s` is bound already", name)
	}
	n, err := compiler.ParseLUID(luid)
	if err != nil {
		return err
	}
	b[name] = n
	return nil
}

// bindFlag adds --bind to a command that reads policies.
func bindFlag(cmd *cobra.Command) bindings {
	b := bindings{}
	cmd.Flags().Var(b, "bind", "bind the interface NAME of the policy to a `LUID` (0x..., ethernet_32773), 0x0 for absent")
	return b
}

// check reports a binding of a name that none of the policies has.
func (b bindings) check(policies ...*compiler.Policy) error {
	for _, name := range slices.Sorted(maps.Keys(b)) {
		has := func(i *compiler.NamedInterface) bool { return i.Name == name }
		if !slices.ContainsFunc(policies, func(p *compiler.Policy) bool { return slices.ContainsFunc(p.Interfaces, has) }) {
			return misuse{fmt.Errorf("--bind: no policy has an interface `%s`", name)}
		}
	}
	return nil
}

// load reads and checks a policy. Its errors are lang.Diagnostics.
func load(path string, opts *compiler.Options) (*compiler.Policy, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	file, err := lang.Parse(path, text)
	if file == nil {
		return nil, err
	}
	var found lang.Diagnostics
	errors.As(err, &found)
	policy, err := compiler.Check(file, opts)
	var more lang.Diagnostics
	if errors.As(err, &more) {
		found = append(found, more...)
	}
	if err := found.Sort().Err(); err != nil {
		return nil, err
	}
	return policy, nil
}

// print renders findings on standard error.
func (c *console) print(findings lang.Diagnostics) {
	_ = findings.Render(c.err, c.colour) // there is nowhere left to say that this failed
}

// policyFiles completes the names of policy files.
func policyFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"hop", "yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// withoutExtension is the path of a policy without .hop, .yaml or .yml.
func withoutExtension(path string) string {
	return strings.TrimSuffix(path, filepath.Ext(path))
}
