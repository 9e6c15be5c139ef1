package vm

import (
	"fmt"
	"strings"
)

// maxFormat is the longest format that eBPF for Windows takes.
const maxFormat = 511

// printer is bpf_trace_printk with a number of arguments: long (const char
// *format, u32 size, u64 ...). Formats are %d, %i, %u, %x, each with l or ll, and
// %%. The result is the number of bytes, or -1 for a bad format.
func printer(arguments int) Helper {
	return func(m *Machine, address, size, a, b, c uint64) (uint64, error) {
		size = uint64(uint32(size))
		if size < 2 || size > maxFormat {
			return ^uint64(0), nil
		}
		format, err := m.memory(address, size)
		if err != nil {
			return 0, err
		}
		line, ok := formatted(strings.TrimSuffix(string(stringIn(format)), "\n"), []uint64{a, b, c}[:arguments])
		if !ok {
			return ^uint64(0), nil
		}
		if m.print != nil {
			m.print(line)
		}
		return uint64(len(line)), nil
	}
}

// formatted fills in a format; false unless it has as many verbs as there are
// arguments, all of them known.
func formatted(format string, arguments []uint64) (string, bool) {
	var line strings.Builder
	for {
		before, rest, found := strings.Cut(format, "%")
		line.WriteString(before)
		if !found {
			return line.String(), len(arguments) == 0
		}
		if strings.HasPrefix(rest, "%") {
			line.WriteByte('%')
			format = rest[1:]
			continue
		}
		verb := strings.TrimPrefix(strings.TrimPrefix(rest, "l"), "l")
		long := len(rest) - len(verb)
		if verb == "" || len(arguments) == 0 {
			return "", false
		}
		v := arguments[0]
		if long < 2 { // long has 32 bits on Windows
			v = uint64(uint32(v))
		}
		switch verb[0] {
		case 'd', 'i':
			if long < 2 {
				v = uint64(int32(v))
			}
			fmt.Fprintf(&line, "%d", int64(v))
		case 'u':
			fmt.Fprintf(&line, "%d", v)
		case 'x':
			fmt.Fprintf(&line, "%x", v)
		default:
			return "", false
		}
		format, arguments = verb[1:], arguments[1:]
	}
}
