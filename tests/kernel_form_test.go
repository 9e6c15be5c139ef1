//go:build linux

package tests

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// A program for eBPF for Windows runs on the Linux kernel as a raw tracepoint: its
// context may be any 96 bytes, and those are a bpf_sock_addr_t and, for the helper
// that gives it, a network context. Only helpers and maps get other numbers, so
// verifier and JIT of the kernel see the code as it is.

var linuxMapTypes = map[ebpf.MapType]ebpf.MapType{
	ebpf.WindowsArray: ebpf.Array, ebpf.WindowsPerCPUArray: ebpf.PerCPUArray, ebpf.WindowsRingBuf: ebpf.RingBuf,
	ebpf.WindowsLPMTrie: ebpf.LPMTrie, ebpf.WindowsArrayOfMaps: ebpf.ArrayOfMaps,
}

func linuxMap(spec *ebpf.MapSpec) *ebpf.MapSpec {
	m := spec.Copy()
	m.Type = linuxMapTypes[spec.Type]
	if m.Type == ebpf.LPMTrie {
		m.Flags = 1 // BPF_F_NO_PREALLOC
	}
	if m.InnerMap != nil {
		m.InnerMap = linuxMap(m.InnerMap)
	}
	return m
}

// linuxCode gives the code with Linux helpers.
func linuxCode(windows asm.Instructions) asm.Instructions {
	code := append(asm.Instructions(nil), windows...)
	number := func(id int64) int64 { return id & 0xfffffff } // without the platform
	for i := range code {
		ins := &code[i]
		if !ins.IsBuiltinCall() {
			continue
		}
		switch number(ins.Constant) {
		case 1:
			*ins = asm.FnMapLookupElem.Call().WithMetadata(ins.Metadata)
		case 11:
			*ins = asm.FnRingbufOutput.Call().WithMetadata(ins.Metadata)
		case codegen.HelperCurrentPidTgid:
			*ins = asm.FnGetCurrentPidTgid.Call().WithMetadata(ins.Metadata)
		case codegen.HelperNetworkContext:
			ins.Src, ins.Constant = asm.PseudoCall, -1
			*ins = ins.WithReference("network_context")
		}
	}
	copied := asm.Instructions{}
	for at := int16(0); at < codegen.NetworkContextSize; at += 8 {
		copied = append(copied,
			asm.LoadMem(asm.R4, asm.R1, codegen.SockAddrSize+at, asm.DWord),
			asm.StoreMem(asm.R2, at, asm.R4, asm.DWord))
	}
	copied[0] = copied[0].WithSymbol("network_context")
	return append(append(code, copied...), asm.Mov.Imm(asm.R0, 0), asm.Return())
}

// kernelForm is a program for Windows in the Linux kernel.
type kernelForm struct {
	*ebpf.Collection
	t    testing.TB
	hook compiler.Hook
}

// loadInKernel skips the test, but not in CI, where the kernel lets us load
// nothing.
func loadInKernel(t testing.TB, program *codegen.Program, hook compiler.Hook) *kernelForm {
	spec := &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{}, Programs: map[string]*ebpf.ProgramSpec{}}
	for _, m := range program.Maps {
		spec.Maps[m.Name] = linuxMap(m)
	}
	for _, f := range program.Functions {
		spec.Programs[f.Name] = &ebpf.ProgramSpec{Name: f.Name, Type: ebpf.RawTracepoint, License: "GPL", Instructions: linuxCode(f.Instructions)}
	}
	c, err := ebpf.NewCollection(spec)
	if errors.Is(err, os.ErrPermission) && os.Getenv("CI") != "true" {
		t.Skipf("the kernel lets this user load no program: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return &kernelForm{c, t, hook}
}

// context is what the function for the request is shown, with its name.
func (k *kernelForm) context(r *compiler.Request) (*ebpf.Program, []byte) {
	at := runtime.AuthorizationLayer(k.hook, r)
	context := make([]byte, codegen.SockAddrSize+codegen.NetworkContextSize)
	require.NoError(k.t, runtime.PutSockAddr(context, at, r))
	require.True(k.t, runtime.PutNetworkContext(context[codegen.SockAddrSize:], at, r))
	return k.Programs[at.Section()[len("cgroup/"):]], context
}

func (k *kernelForm) run(r *compiler.Request) uint32 {
	program, context := k.context(r)
	verdict, err := program.Run(&ebpf.RunOptions{Context: context})
	require.NoError(k.t, err)
	return verdict
}

// moved tells which rule and which audit rule one more decision was counted for.
func moved(rules []codegen.Rule, before, after []uint64) (rule, audit int) {
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
