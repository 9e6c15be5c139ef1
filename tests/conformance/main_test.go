package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const exit = " 95 00 00 00 00 00 00 00"

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name    string
		program string
		memory  []string
		want    string
		err     string
	}{
		{"r0", "b7 00 00 00 ff ff ff ff" + exit, nil, "ffffffffffffffff\n", ""},
		{"without spaces", strings.ReplaceAll("b7 00 00 00 2a 00 00 00"+exit, " ", ""), nil, "2a\n", ""},
		{"memory is in r1", "79 10 02 00 00 00 00 00" + exit, []string{"aa bb 11 22 33 44 55 66 77 88"}, "8877665544332211\n", ""},
		{"memory can be written", "72 01 01 00 07 00 00 00 69 10 00 00 00 00 00 00" + exit, []string{"0102"}, "701\n", ""},
		{"its length is in r2", "bf 20 00 00 00 00 00 00" + exit, []string{"00 00 00 01 00 00 00 02"}, "8\n", ""},
		{"helper 5 is there", "b7 01 00 00 09 00 00 00 85 00 00 00 05 00 00 00" + exit, nil, "9\n", ""},
		{"beyond memory", "71 10 02 00 00 00 00 00" + exit, []string{"0102"}, "", "byte 2 of the context, which has 2"},
		{"group callx", "8d 02 00 00 00 00 00 00" + exit, nil, "", "group callx"},
		{"not in base 16", "xy", nil, "", "program: encoding/hex: invalid byte"},
		{"memory not in base 16", exit, []string{"0"}, "", "memory: encoding/hex: odd length"},
		{"an option", exit, []string{"00", "--elf"}, "", "usage: conformance [MEMORY] <PROGRAM, both in base 16; not: 00 --elf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(c.memory, strings.NewReader(c.program), &out)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, out.String())
		})
	}
}
