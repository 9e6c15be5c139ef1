package scenario

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/hopgate/hopgate/codegen"
)

// redirector is a program for the redirect layer that sends connections for one
// destination to another, as a transparent proxy's does.
func redirector(from, to Destination) *codegen.Program {
	at := codegen.AttachConnect4
	if from.Addr().Is6() {
		at = codegen.AttachConnect6
	}
	// A load, a compare or a store takes the bytes as they lie in memory.
	code := asm.Instructions{asm.Mov.Imm(asm.R0, 1)}
	test := func(offset int16, size asm.Size, value uint32) {
		code = append(code, asm.LoadMem(asm.R2, asm.R1, offset, size), asm.JNE.Imm32(asm.R2, int32(value), "exit"))
	}
	store := func(offset int16, size asm.Size, value uint32) {
		code = append(code, asm.StoreImm(asm.R1, offset, int64(int32(value)), size))
	}
	for i, word := range words(from) {
		test(codegen.SockAddrUserIP+int16(4*i), asm.Word, word)
	}
	if from.Port() != 0 {
		test(codegen.SockAddrUserPort, asm.Half, networkPort(from))
	}
	for i, word := range words(to) {
		store(codegen.SockAddrUserIP+int16(4*i), asm.Word, word)
	}
	if to.Port() != 0 {
		store(codegen.SockAddrUserPort, asm.Half, networkPort(to))
	}
	code = append(code, asm.Return().WithSymbol("exit"))
	return &codegen.Program{
		Policy:    fmt.Sprintf("redirect to %s", to),
		Functions: []codegen.Function{{Name: "redirect", Section: at.Section(), Instructions: code}},
	}
}

// words are the address's bytes, network order, as a little-endian machine reads
// them.
func words(d Destination) []uint32 {
	b := d.Addr().AsSlice()
	w := make([]uint32, len(b)/4)
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w
}

func networkPort(d Destination) uint32 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], d.Port())
	return uint32(binary.LittleEndian.Uint16(b[:]))
}
