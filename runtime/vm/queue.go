package vm

// queue is the order of the elements of a queue or stack: count slots from the
// oldest on, around the end of the map.
type queue struct {
	oldest, count uint32
}

// Push appends a value to a queue or stack. With the flag Exist a full one drops
// its oldest value. Errors: E2BIG where it is full; EINVAL for another kind of
// map, size or flag.
func (m *Map) Push(value []byte, flags uint64) error {
	if len(value) != int(m.spec.ValueSize) || m.form.kind != queueMap && m.form.kind != stackMap {
		return EINVAL
	}
	if e := m.push(value, flags); e != 0 {
		return e
	}
	return nil
}

// Pop takes the oldest value out of a queue, the newest out of a stack. Errors:
// ENOENT where there is none, EINVAL for another kind of map.
func (m *Map) Pop() ([]byte, error) {
	if m.form.kind != queueMap && m.form.kind != stackMap {
		return nil, EINVAL
	}
	value := make([]byte, m.spec.ValueSize)
	if e := m.front(value, true); e != 0 {
		return nil, e
	}
	return value, nil
}

func (m *Map) push(value []byte, flags uint64) Errno {
	if flags != Any && flags != Exist {
		return EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q := &m.queue
	if q.count == m.slots {
		if flags != Exist {
			return E2BIG
		}
		q.oldest, q.count = (q.oldest+1)%m.slots, q.count-1
	}
	m.values.write(m.offset((q.oldest+q.count)%m.slots, 0), value)
	q.count++
	return 0
}

// front copies the next value out, and removes it.
func (m *Map) front(value []byte, remove bool) Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := &m.queue
	if q.count == 0 {
		return ENOENT
	}
	slot := q.oldest
	if m.form.kind == stackMap {
		slot = (q.oldest + q.count - 1) % m.slots
	}
	m.values.read(m.offset(slot, 0), value)
	if remove {
		q.count--
		if m.form.kind == queueMap {
			q.oldest = (q.oldest + 1) % m.slots
		}
	}
	return 0
}
