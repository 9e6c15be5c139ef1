package vm

import (
	"errors"
	"fmt"
)

// Map is the map of a handle that a program passed.
func (m *Machine) Map(handle uint64) (*Map, error) {
	mp, _, err := m.mapOf(handle)
	return mp, err
}

func (m *Machine) mapOf(handle uint64) (mp *Map, number int, err error) {
	n := handle>>addressBits - handleRegions
	if mp = m.mapNumber(n); mp == nil || handle&offsetMask != 0 {
		return nil, 0, fmt.Errorf("%#x is not a map", handle)
	}
	return mp, int(n), nil
}

var errNoElements = errors.New("the map has no elements to look up or change")

// element finds the map and reads the key that a program passed.
func (m *Machine) element(handle, keyAddress uint64) (mp *Map, number int, key []byte, err error) {
	mp, number, err = m.mapOf(handle)
	switch {
	case err != nil:
		return nil, 0, nil, err
	case !mp.form.kind.keyed():
		return nil, 0, nil, errNoElements
	case mp.form.kind == trieMap:
		m.work += uint64(mp.spec.KeySize) // it may be as deep as its key has bits
	}
	key = m.key[:mp.spec.KeySize]
	return mp, number, key, m.Read(keyAddress, key)
}

// changed is element where the program is about to change the map.
func (m *Machine) changed(handle, keyAddress uint64) (mp *Map, number int, key []byte, err error) {
	if mp, number, key, err = m.element(handle, keyAddress); err == nil {
		err = mp.changeable()
	}
	return mp, number, key, err
}

// changeable is an error for a map that programs may not change.
func (m *Map) changeable() error {
	if m.values == nil || m.spec.Flags&flagReadOnlyProgram != 0 {
		return fmt.Errorf("programs may not change map `%s`", m.spec.Name)
	}
	return nil
}

// mapLookup: void *(map, const void *key), null where there is no element.
func mapLookup(m *Machine, handle, keyAddress, _, _, _ uint64) (uint64, error) {
	mp, number, key, err := m.element(handle, keyAddress)
	if err != nil {
		return 0, err
	}
	slot, ok := mp.find(key)
	if !ok {
		return 0, nil
	}
	if mp.inner == nil {
		return valueAddress(number, mp.number(slot, int(m.CPU))<<mp.shift), nil
	}
	inner := mp.inner[slot].Load()
	if inner == nil {
		return 0, nil
	}
	return m.innerHandle(inner)
}

// innerHandle gives a map that was found in another map a number in this run.
func (m *Machine) innerHandle(inner *Map) (uint64, error) {
	for i := len(m.inner) - 1; i >= 0; i-- {
		if m.inner[i] == inner {
			return handleAddress(innerMaps + i), nil
		}
	}
	if len(m.inner) == maxInnerMaps {
		return 0, fmt.Errorf("more than %d inner maps in one run", maxInnerMaps)
	}
	m.inner = append(m.inner, inner)
	return handleAddress(innerMaps + len(m.inner) - 1), nil
}

// mapUpdate: long (map, const void *key, const void *value, u64 flags).
func mapUpdate(m *Machine, handle, keyAddress, valueAddress, flags, _ uint64) (uint64, error) {
	mp, _, key, err := m.changed(handle, keyAddress)
	if err != nil {
		return 0, err
	}
	value := m.buffer(uint64(mp.spec.ValueSize))
	if err := m.Read(valueAddress, value); err != nil {
		return 0, err
	}
	return mp.update(key, value, flags, int(m.CPU)).result(), nil
}

// mapDelete: long (map, const void *key).
func mapDelete(m *Machine, handle, keyAddress, _, _, _ uint64) (uint64, error) {
	mp, _, key, err := m.changed(handle, keyAddress)
	if err != nil {
		return 0, err
	}
	_, e := mp.remove(key)
	return e.result(), nil
}

// mapLookupAndDelete: void *(map, const void *key), null where there was no
// element.
func mapLookupAndDelete(m *Machine, handle, keyAddress, _, _, _ uint64) (uint64, error) {
	mp, number, key, err := m.changed(handle, keyAddress)
	if err != nil {
		return 0, err
	}
	slot, e := mp.remove(key)
	if e != 0 {
		return 0, nil
	}
	return valueAddress(number, mp.number(slot, int(m.CPU))<<mp.shift), nil
}

// mapPush: long (map, const void *value, u64 flags).
func mapPush(m *Machine, handle, valueAddress, flags, _, _ uint64) (uint64, error) {
	mp, err := m.queueOf(handle)
	if err != nil {
		return 0, err
	}
	value := m.buffer(uint64(mp.spec.ValueSize))
	if err := m.Read(valueAddress, value); err != nil {
		return 0, err
	}
	return mp.push(value, flags).result(), nil
}

// mapPop: long (map, void *value).
func mapPop(m *Machine, handle, valueAddress, _, _, _ uint64) (uint64, error) {
	return m.takeFromQueue(handle, valueAddress, true)
}

// mapPeek: long (map, void *value).
func mapPeek(m *Machine, handle, valueAddress, _, _, _ uint64) (uint64, error) {
	return m.takeFromQueue(handle, valueAddress, false)
}

func (m *Machine) takeFromQueue(handle, valueAddress uint64, remove bool) (uint64, error) {
	mp, err := m.queueOf(handle)
	if err != nil {
		return 0, err
	}
	value := m.buffer(uint64(mp.spec.ValueSize))
	if e := mp.front(value, remove); e != 0 {
		return e.result(), nil
	}
	return 0, m.Write(valueAddress, value)
}

func (m *Machine) queueOf(handle uint64) (*Map, error) {
	mp, _, err := m.mapOf(handle)
	if err != nil {
		return nil, err
	}
	if mp.form.kind != queueMap && mp.form.kind != stackMap {
		return nil, fmt.Errorf("map `%s` is neither a queue nor a stack", mp.spec.Name)
	}
	return mp, nil
}

// buffer is scratch memory for one helper call.
func (m *Machine) buffer(size uint64) []byte {
	if uint64(cap(m.scratch)) < size {
		m.scratch = make([]byte, size)
	}
	return m.scratch[:size]
}

// ringOutput: long (map, const void *data, u64 size, u64 flags). Flags are those
// of the kernel that say when to wake the reader, which here is always woken.
func ringOutput(m *Machine, handle, data, size, flags, _ uint64) (uint64, error) {
	mp, _, err := m.mapOf(handle)
	if err != nil {
		return 0, err
	}
	if mp.ring == nil {
		return 0, fmt.Errorf("map `%s` is not a ring buffer", mp.spec.Name)
	}
	if flags > 3 {
		return EINVAL.result(), nil
	}
	if size >= uint64(len(mp.ring.bytes)) {
		return mp.ring.drop().result(), nil
	}
	record := m.buffer(size)
	if err := m.Read(data, record); err != nil {
		return 0, err
	}
	return mp.ring.output(record).result(), nil
}
