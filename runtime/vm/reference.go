package vm

// SetMap puts a map into a map of maps; nil takes it out. Errors: EINVAL where the
// map is not one of maps or inner is unlike the template, and those of Update.
func (m *Map) SetMap(key []byte, inner *Map) error {
	if m.inner == nil || len(key) != int(m.spec.KeySize) || !m.fits(inner) {
		return EINVAL
	}
	if m.index == nil {
		slot, ok := m.find(key)
		if !ok {
			return E2BIG
		}
		m.inner[slot].Store(inner)
		return nil
	}
	if inner == nil {
		return m.Delete(key)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	slot, ok := m.index.find(key)
	if !ok {
		if m.count == m.spec.MaxEntries {
			return E2BIG
		}
		slot = m.pool.take()
		m.index.insert(key, slot)
		m.count++
	}
	m.inner[slot].Store(inner)
	return nil
}

// Inner finds the map under a key of a map of maps; nil for none.
func (m *Map) Inner(key []byte) *Map {
	if m.inner == nil || len(key) != int(m.spec.KeySize) {
		return nil
	}
	slot, ok := m.find(key)
	if !ok {
		return nil
	}
	return m.inner[slot].Load()
}

// fits says whether inner is like the template of a map of maps, in what programs
// depend on.
func (m *Map) fits(inner *Map) bool {
	t := m.spec.InnerMap
	if inner == nil || t == nil {
		return true
	}
	f, ok := formOf(t.Type)
	return ok && f == inner.form && t.KeySize == inner.spec.KeySize && t.ValueSize == inner.spec.ValueSize && !f.ofMaps
}

// SetProgram puts a program into a program array; nil takes it out. Errors: EINVAL
// for another kind of map, E2BIG for an index beyond its end.
func (m *Map) SetProgram(index uint32, p *Program) error {
	if m.programs == nil {
		return EINVAL
	}
	if index >= uint32(len(m.programs)) {
		return E2BIG
	}
	m.programs[index].Store(p)
	return nil
}
