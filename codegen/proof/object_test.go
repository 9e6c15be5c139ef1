package proof_test

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/proof"
	"github.com/hopgate/hopgate/compiler"
)

// An object that does more than the policy is not the policy. eBPF for Windows goes by
// the start of a section's name: a program beside the policy's would be loaded too.
func TestMoreThanThePolicy(t *testing.T) {
	p := check(t, `policy corp {
		default allow
		set bad dynamic = { 192.0.2.0/24 }
		rule bad: deny log if remote_address in $bad
	}`)
	d, err := compiler.Compile(p, nil)
	require.NoError(t, err)
	beside := func(section string) func(*codegen.Program) {
		return func(program *codegen.Program) {
			program.Functions = append(program.Functions, codegen.Function{Name: "beside", Section: section, Instructions: asm.Instructions{
				asm.Mov.Imm(asm.R0, 2).WithSymbol("beside"), asm.Return(),
			}})
		}
	}
	for name, c := range map[string]struct {
		change func(*codegen.Program)
		want   string
	}{
		"nothing":             {func(*codegen.Program) {}, ""},
		"another section":     {beside("cgroup/connect_authorization4/beside"), "section cgroup/connect_authorization4/beside: a program that no policy has"},
		"another hook":        {beside("cgroup/bind4"), "section cgroup/bind4: a program that no policy has"},
		"another attach type": {beside("cgroup/connect4"), "the object has 3 functions"},
		"the same section":    {beside("cgroup/connect_authorization4"), "more than one function"},
		"pinned":              {func(program *codegen.Program) { program.Maps[0].Pinning = ebpf.PinByName }, "is pinned"},
		"a set that hashes": {func(program *codegen.Program) {
			for _, m := range program.Maps {
				if m.Type == ebpf.WindowsArray {
					m.Type = ebpf.WindowsHash
				}
			}
		}, "is no array"},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := codegen.Generate(d, nil)
			require.NoError(t, err)
			c.change(program)
			var object bytes.Buffer
			require.NoError(t, program.WriteELF(&object))
			found, err := proof.Check(p, object.Bytes(), 0)
			require.NoError(t, err)
			if c.want == "" {
				require.Equal(t, proof.Proved, found.Status, found)
				return
			}
			require.Equal(t, proof.Refuted, found.Status, found)
			require.Contains(t, found.Reason, c.want)
		})
	}
}
