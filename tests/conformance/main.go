// Conformance runs one eBPF program in process. It is what suites that compare
// eBPF runtimes call a plugin:
//
//	conformance [MEMORY] <PROGRAM
//
// Both are bytes in base 16, with or without spaces. The program finds the memory
// in r1 and its length in r2; its r0 is printed in base 16. A program that cannot
// be loaded or that faults is an error, with exit code 1.
package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hopgate/hopgate/runtime/vm"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) > 1 || len(args) == 1 && strings.HasPrefix(args[0], "-") {
		return fmt.Errorf("usage: conformance [MEMORY] <PROGRAM, both in base 16; not: %s", strings.Join(args, " "))
	}
	var memory []byte
	if len(args) == 1 {
		var err error
		if memory, err = base16(args[0]); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	text, err := io.ReadAll(stdin)
	if err != nil {
		return err
	}
	program, err := base16(string(text))
	if err != nil {
		return fmt.Errorf("program: %w", err)
	}
	r0, err := execute(program, memory)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%x\n", r0)
	return err
}

func base16(text string) ([]byte, error) {
	return hex.DecodeString(strings.Join(strings.Fields(text), ""))
}

func execute(program, memory []byte) (uint64, error) {
	// The machine gives only r1: a move before the program gives r2.
	start := binary.LittleEndian.AppendUint32([]byte{0xb7, 2, 0, 0}, uint32(len(memory)))
	p, err := vm.LoadBytes(append(start, program...), &vm.Environment{Helpers: map[int32]vm.Helper{helper: echo}})
	if err != nil {
		return 0, err
	}
	return vm.NewMachine().Run(p, memory, nil)
}

// helper is the number of one that suites count on to be there; none says what it
// does.
const helper = 5

func echo(_ *vm.Machine, r1, _, _, _, _ uint64) (uint64, error) { return r1, nil }
