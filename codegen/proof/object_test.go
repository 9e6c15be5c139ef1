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

// What an object for Linux does around its decisions is what hopgate's do: no program
// stands behind another's name, no member of the kernel's structures behind another's, and no
// decision reads a network context that it is not given.
func TestMoreThanThePolicyOnLinux(t *testing.T) {
	p := check(t, "policy corp { default allow\n rule bad: deny if remote_port == 80 }")
	d, err := compiler.Compile(p, nil)
	require.NoError(t, err)
	renamed := func(from, to string) func([]byte) []byte {
		return func(object []byte) []byte { return bytes.ReplaceAll(object, []byte(from), []byte(to)) }
	}
	for name, c := range map[string]struct {
		change func(*codegen.Program)
		damage func([]byte) []byte
		want   string
	}{
		"nothing": {},
		"two sections of one name": {func(program *codegen.Program) {
			program.Functions = append([]codegen.Function{{Name: "beside", Section: "cgroup/connect4x", Instructions: asm.Instructions{
				asm.Mov.Imm(asm.R0, 1).WithSymbol("beside"), asm.Return(),
			}}}, program.Functions...)
		}, renamed("connect4x\x00", "connect4\x00\x00"), "section cgroup/connect4: there are two of that name"},
		"another member": {nil, renamed("\x00sk_protocol\x00", "\x00sk_priority\x00"), "structure `sock` is not what"},
		"a network context that is not given": {func(program *codegen.Program) {
			for i := range program.Functions {
				code := program.Functions[i].Instructions
				for k := range code {
					if code[k].Symbol() != "hopgate_decide6" {
						continue
					}
					// What stands in the place of these makes the decision a constant.
					code[k+0] = asm.Mov.Reg(asm.R7, asm.R1).WithMetadata(code[k].Metadata)
					code[k+1] = asm.LoadMem(asm.R0, asm.R7, codegen.FlowContext, asm.Word).WithMetadata(code[k+1].Metadata)
					code[k+2] = asm.Return().WithMetadata(code[k+2].Metadata)
				}
			}
		}, nil, "reads outside of the context"},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := codegen.Generate(d, &codegen.Options{Target: codegen.Linux})
			require.NoError(t, err)
			if c.change != nil {
				c.change(program)
			}
			var object bytes.Buffer
			require.NoError(t, program.WriteELF(&object))
			data := object.Bytes()
			if c.damage != nil {
				data = c.damage(data)
				require.NotEqual(t, object.Bytes(), data)
			}
			found, err := proof.Check(p, data, 0)
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
