package vm

// ReadArray copies the values of an array for one CPU, in the order of their
// numbers and each in a multiple of 8 bytes, to buf as far as it reaches. It
// returns the part it filled, nothing for another kind of map.
func (m *Map) ReadArray(cpu int, buf []byte) []byte {
	if m.form.kind != arrayMap || m.values == nil {
		return nil
	}
	buf = buf[:min(uint64(len(buf)), uint64(m.slots)*m.stride)]
	m.values.read(m.offset(0, cpu), buf)
	return buf
}
