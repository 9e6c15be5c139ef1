// Package baseline has what hopgate is compared with: the same policies as a linear chain
// of instructions and as linear C.
package baseline

import (
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// place is where a field stands, in network byte order.
type place struct {
	at   int16
	size asm.Size
}

// source is what a chain reads the fields from.
type source struct {
	base   asm.Register
	fields map[compiler.Field]place
}

// EgressChain is a policy for IPv4 as peers emit one: a block of comparisons a rule, which
// reads the packet and goes to the next rule where one fails. Rules are conjunctions
// of single ranges of addresses, ports and the protocol. Fields kept in registers
// would spare the loads, but then the verifier remembers what each comparison says
// of them and refuses a thousand rules. For the same reason ports are read whatever
// the protocol.
func EgressChain(p *compiler.Policy) (asm.Instructions, error) {
	packet := source{asm.R7, map[compiler.Field]place{
		compiler.Protocol: {9, asm.Byte}, compiler.LocalAddress: {12, asm.Word}, compiler.RemoteAddress: {16, asm.Word},
		compiler.LocalPort: {20, asm.Half}, compiler.RemotePort: {22, asm.Half},
	}}
	return packet.chain(p, asm.Instructions{
		asm.LoadMem(asm.R7, asm.R1, 76, asm.Word), // __sk_buff.data
		asm.LoadMem(asm.R8, asm.R1, 80, asm.Word), // data_end
		asm.Mov.Reg(asm.R0, asm.R7),
		asm.Add.Imm(asm.R0, 24),
		asm.JLE.Reg(asm.R0, asm.R8, "long enough"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.LoadMem(asm.R0, asm.R7, 0, asm.Byte).WithSymbol("long enough"),
		asm.JEq.Imm(asm.R0, 0x45, "rule0"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	})
}

// Connect4Chain is the same for connect4, of a policy that does not ask for the local
// end.
func Connect4Chain(p *compiler.Policy) (asm.Instructions, error) {
	context := source{asm.R1, map[compiler.Field]place{ // struct bpf_sock_addr
		compiler.RemoteAddress: {4, asm.Word}, compiler.RemotePort: {24, asm.Word}, compiler.Protocol: {36, asm.Word},
	}}
	return context.chain(p, nil)
}

func (s source) chain(p *compiler.Policy, code asm.Instructions) (asm.Instructions, error) {
	at := "rule0" // label of the next instruction
	for i := range p.Rules {
		next := fmt.Sprintf("rule%d", i+1)
		var block asm.Instructions
		for _, c := range parts(p.Rules[i].Cond) {
			tests, err := s.compare(c, next)
			if err != nil {
				return nil, fmt.Errorf("rule %s: %w", p.Rules[i].ID, err)
			}
			block = append(block, tests...)
		}
		always := len(block) == 0
		block = append(block, answer(p.Rules[i].Verdict)...)
		block[0] = block[0].WithSymbol(at)
		code, at = append(code, block...), next
		if always {
			return code, nil // what nothing leads to is refused
		}
	}
	last := answer(p.Default)
	last[0] = last[0].WithSymbol(at)
	return append(code, last...), nil
}

func parts(c compiler.Cond) compiler.All {
	if all, ok := c.(compiler.All); ok {
		return all
	}
	return compiler.All{c}
}

func answer(v lang.Verdict) asm.Instructions {
	allow := int32(1)
	if v == lang.Deny {
		allow = 0
	}
	return asm.Instructions{asm.Mov.Imm(asm.R0, allow), asm.Return()}
}

// compare goes to next unless the condition holds.
func (s source) compare(c compiler.Cond, next string) (asm.Instructions, error) {
	in, ok := c.(compiler.In)
	place, known := s.fields[in.Field]
	if !ok || !known || len(in.Ranges) != 1 {
		return nil, fmt.Errorf("not a single range of a field that is there: %s", c)
	}
	first, last := uint32(in.Ranges[0].First.Lo), uint32(in.Ranges[0].Last.Lo)
	limit := uint32(in.Field.Domain().Last.Lo)
	same := first ^ last // the free bits, if it is a prefix
	code := asm.Instructions{asm.LoadMem(asm.R0, s.base, place.at, place.size)}
	swap := func(v uint32) int32 {
		switch {
		case in.Field == compiler.Protocol:
			return int32(v)
		case limit == 0xffff:
			return int32(bits.ReverseBytes16(uint16(v)))
		}
		return int32(bits.ReverseBytes32(v))
	}
	switch {
	case first == 0 && last == limit:
		return nil, nil
	case first == last:
		return append(code, asm.JNE.Imm32(asm.R0, swap(first), next)), nil
	case same&(same+1) == 0 && first&same == 0:
		return append(code, asm.And.Imm32(asm.R0, swap(^same&limit)), asm.JNE.Imm32(asm.R0, swap(first), next)), nil
	}
	if limit == 0xffff {
		code = append(code, asm.HostTo(asm.BE, asm.R0, asm.Half))
	} else if in.Field != compiler.Protocol {
		code = append(code, asm.HostTo(asm.BE, asm.R0, asm.Word))
	}
	if first > 0 {
		code = append(code, asm.JLT.Imm32(asm.R0, int32(first), next))
	}
	if last < limit {
		code = append(code, asm.JGT.Imm32(asm.R0, int32(last), next))
	}
	return code, nil
}
