//go:build linux

// Package tracepoint runs programs for eBPF for Windows on the Linux kernel, as raw
// tracepoints: the context of one may be any 96 bytes, and those are a bpf_sock_addr_t
// and, for the helper that gives it, a network context. Only helpers and maps get other
// numbers, so verifier and JIT of the kernel see the code as it is.
package tracepoint

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

var linuxMapTypes = map[ebpf.MapType]ebpf.MapType{
	ebpf.WindowsArray: ebpf.Array, ebpf.WindowsPerCPUArray: ebpf.PerCPUArray, ebpf.WindowsRingBuf: ebpf.RingBuf,
	ebpf.WindowsArrayOfMaps: ebpf.ArrayOfMaps,
}

func linuxMap(spec *ebpf.MapSpec) *ebpf.MapSpec {
	m := spec.Copy()
	m.Type = linuxMapTypes[spec.Type]
	switch {
	case m.Name == codegen.TableMap:
		m.InnerMap = codegen.TableValueMap(codegen.Windows)
		m.InnerMap.Type, m.InnerMap.Flags = ebpf.Array, codegen.TableValueMap(codegen.Linux).Flags
	case m.InnerMap != nil:
		m.InnerMap = codegen.SetTableMap(make([]byte, 64), codegen.Linux)
		m.InnerMap.Contents = nil
	}
	return m
}

// contextFunction stands for the helper that gives the network context.
const contextFunction = "network_context"

// linuxCode gives the code with Linux helpers, and without policy lines.
func linuxCode(windows asm.Instructions) asm.Instructions {
	const withoutPlatform = 0xfffffff
	code := make(asm.Instructions, 0, len(windows))
	for _, from := range windows {
		ins := asm.Instruction{OpCode: from.OpCode, Dst: from.Dst, Src: from.Src, Offset: from.Offset, Constant: from.Constant}
		if from.IsBuiltinCall() {
			switch from.Constant & withoutPlatform {
			case 1:
				ins = asm.FnMapLookupElem.Call()
			case 11:
				ins = asm.FnRingbufOutput.Call()
			case codegen.HelperCurrentPidTgid:
				ins = asm.FnGetCurrentPidTgid.Call()
			case codegen.HelperNetworkContext:
				ins.Src, ins.Constant = asm.PseudoCall, -1
				ins = ins.WithReference(contextFunction)
			}
		}
		if from.OpCode.JumpOp() == asm.JGT && from.Dst == asm.R5 && from.OpCode.Source() == asm.ImmSource && from.Constant > 256 {
			// The count of an engine's rounds: Linux would follow every one of them.
			ins = asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.JCOND), Offset: from.Offset}
		}
		if name := from.Reference(); name != "" {
			ins = ins.WithReference(name)
		}
		if name := from.Symbol(); name != "" {
			ins = ins.WithSymbol(name)
		}
		if f := btf.FuncMetadata(&from); f != nil { // by it the kernel knows a function that it takes once, not for each call
			ins = btf.WithFuncMetadata(ins, f).WithSource(asm.Comment(""))
		}
		code = append(code, ins)
	}
	if !slices.ContainsFunc(code, func(ins asm.Instruction) bool { return ins.Reference() == contextFunction }) {
		return code
	}
	copied := asm.Instructions{}
	for at := int16(0); at < codegen.NetworkContextSize; at += 8 {
		copied = append(copied,
			asm.LoadMem(asm.R4, asm.R1, codegen.SockAddrSize+at, asm.DWord),
			asm.StoreMem(asm.R2, at, asm.R4, asm.DWord))
	}
	integer := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	pointer := &btf.Pointer{Target: &btf.Void{}}
	kind := &btf.FuncProto{Return: integer, Params: []btf.FuncParam{{Name: "context", Type: pointer}, {Name: "to", Type: pointer}, {Name: "size", Type: integer}}}
	copied[0] = btf.WithFuncMetadata(copied[0].WithSymbol(contextFunction), &btf.Func{Name: contextFunction, Type: kind}).WithSource(asm.Comment(""))
	return append(append(code, copied...), asm.Mov.Imm(asm.R0, 0), asm.Return())
}

// Program is a program for Windows in the Linux kernel.
type Program struct {
	*ebpf.Collection
	Hook compiler.Hook
	t    testing.TB
}

// Load loads a program. It skips the test, but not in CI, where the kernel lets us load
// nothing.
func Load(t testing.TB, program *codegen.Program, hook compiler.Hook) *Program {
	t.Helper()
	p, err := New(t, program, hook)
	if errors.Is(err, os.ErrPermission) && os.Getenv("CI") != "true" {
		t.Skipf("the kernel lets this user load no program: %v", err)
	}
	require.NoError(t, err)
	return p
}

// New is Load for a program that the kernel may refuse.
func New(t testing.TB, program *codegen.Program, hook compiler.Hook) (*Program, error) {
	spec := &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{}, Programs: map[string]*ebpf.ProgramSpec{}}
	for _, m := range program.Maps {
		spec.Maps[m.Name] = linuxMap(m)
	}
	windows, err := program.CollectionSpec()
	if err != nil {
		return nil, err
	}
	for name, p := range windows.Programs {
		spec.Programs[name] = &ebpf.ProgramSpec{Name: name, Type: ebpf.RawTracepoint, License: "GPL", Instructions: linuxCode(p.Instructions)}
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogDisabled: true}})
	if err != nil {
		return nil, err
	}
	t.Cleanup(c.Close)
	return &Program{c, hook, t}, nil
}

// Context is what the function for the request is shown, with its name.
func (k *Program) Context(r *compiler.Request) (*ebpf.Program, []byte) {
	at := runtime.AuthorizationLayer(k.Hook, r)
	context := make([]byte, codegen.SockAddrSize+codegen.NetworkContextSize)
	require.NoError(k.t, runtime.PutSockAddr(context, at, r))
	require.True(k.t, runtime.PutNetworkContext(context[codegen.SockAddrSize:], at, r))
	return k.Programs[at.Section()[len("cgroup/"):]], context
}

// Run gives what the program returns for the request.
func (k *Program) Run(r *compiler.Request) uint32 {
	program, context := k.Context(r)
	verdict, err := program.Run(&ebpf.RunOptions{Context: context})
	require.NoError(k.t, err)
	return verdict
}

// Moved tells which rule and which audit rule one more decision was counted for.
func Moved(rules []codegen.Rule, before, after []uint64) (rule, audit int) {
	rule, audit = -1, -1
	for i := range after {
		switch {
		case after[i] == before[i]:
		case rules[i].Audit:
			audit = i
		default:
			rule = i
		}
	}
	return rule, audit
}
