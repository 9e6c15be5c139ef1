//go:build linux

package measure

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// EmptyEgress is a program that lets every packet pass.
func EmptyEgress() (*ebpf.Program, error) {
	return Load(ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress, asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()})
}

// Load loads a program that needs no maps of its own.
func Load(kind ebpf.ProgramType, attach ebpf.AttachType, code asm.Instructions) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Type: kind, AttachType: attach, License: codegen.License, Instructions: code})
}

// Egress runs an egress program once for each frame, under BPF_PROG_TEST_RUN.
func Egress(p *ebpf.Program, frames [][]byte) Batch {
	return Batch{p, func(round int) error {
		for _, f := range share(frames, round) {
			if _, err := Pass(p, f); err != nil {
				return err
			}
		}
		return nil
	}}
}

// Pass reports whether an egress program lets a frame pass.
func Pass(p *ebpf.Program, frame []byte) (bool, error) {
	answer, err := p.Run(&ebpf.RunOptions{Data: frame})
	return answer == 1, err
}

// Frame is the first packet of a request's flow as a test run wants it, behind an
// Ethernet header.
func Frame(r *compiler.Request) []byte {
	b := make([]byte, 12, 64)
	if local, remote := r.Local.Addr().Unmap(), r.Remote.Addr().Unmap(); remote.Is4() {
		b = append(b, 0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, r.Protocol, 0, 0)
		b = append(append(b, local.AsSlice()...), remote.AsSlice()...)
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, r.Protocol, 64)
		b = append(append(b, local.AsSlice()...), remote.AsSlice()...)
	}
	b = binary.BigEndian.AppendUint16(b, r.Local.Port())
	b = binary.BigEndian.AppendUint16(b, r.Remote.Port())
	return append(b, make([]byte, 16)...)
}
