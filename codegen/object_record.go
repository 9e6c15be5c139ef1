package codegen

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/cilium/ebpf"
)

// Build says how a program was made. An object carries it, so nothing in it may
// differ between two compiles of one policy: no time, no host, no folder.
type Build struct {
	Version      string   `json:"version,omitempty"`       // of hopgate
	PolicySHA256 string   `json:"policy_sha256,omitempty"` // of the policy, in hex
	Options      []string `json:"options,omitempty"`       // what shaped the code, such as form=code
	Proof        string   `json:"proof,omitempty"`         // what the proof found
}

// Sections of hopgate's objects that no loader reads. The record has, as JSON, what
// hopgate knows of the program beside code and maps. The contents are the keys
// and values that maps start with, one after the other, in the record's order; a
// loader that does not know them starts with empty maps.
const (
	recordSection   = ".hopgate"
	contentsSection = ".hopgate.maps"
)

// recordFormat counts the incompatible changes of record.
const recordFormat = 1

type record struct {
	Format   int              `json:"format"`
	Target   Target           `json:"target"`
	Policy   string           `json:"policy"`
	Rules    []Rule           `json:"rules"`
	Build    Build            `json:"build"`
	Contents []recordContents `json:"contents,omitempty"`

	Interfaces []Interface `json:"interfaces,omitempty"`
	Sets       []Set       `json:"sets,omitempty"`
}

type recordContents struct {
	Map     string   `json:"map"`
	Entries uint32   `json:"entries"`
	Names   []string `json:"names,omitempty"` // of functions or maps that are the values, instead of bytes
}

// marshalRecord gives the two sections.
func (p *Program) marshalRecord() (recordData, contents []byte, err error) {
	r := record{Format: recordFormat, Target: p.Target, Policy: p.Policy, Rules: p.Rules, Build: p.Build, Interfaces: p.Interfaces, Sets: p.Sets}
	for _, m := range p.Maps {
		if len(m.Contents) == 0 {
			continue
		}
		c := recordContents{Map: m.Name, Entries: uint32(len(m.Contents))}
		for _, kv := range m.Contents {
			contents, err = appendSized(contents, kv.Key, m.KeySize)
			if name, ok := kv.Value.(string); ok {
				c.Names = append(c.Names, name)
			} else if err == nil {
				contents, err = appendSized(contents, kv.Value, m.ValueSize)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("contents of map `%s`: %w", m.Name, err)
			}
		}
		if len(c.Names) > 0 && len(c.Names) < len(m.Contents) {
			return nil, nil, fmt.Errorf("contents of map `%s`: some values are names", m.Name)
		}
		r.Contents = append(r.Contents, c)
	}
	recordData, err = json.Marshal(r)
	return recordData, contents, err
}

func appendSized(to []byte, value any, size uint32) ([]byte, error) {
	out, err := binary.Append(to, binary.LittleEndian, value)
	if err == nil && len(out)-len(to) != int(size) {
		err = fmt.Errorf("%d bytes where the map has %d", len(out)-len(to), size)
	}
	return out, err
}

func parseRecord(data []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("format %d; this hopgate reads %d", r.Format, recordFormat)
	}
	return r, nil
}

// apply fills in what the record and the contents say. The maps must be there.
func (r *record) apply(p *Program, contents []byte) error {
	p.Policy, p.Rules, p.Build, p.Interfaces, p.Sets = r.Policy, r.Rules, r.Build, r.Interfaces, r.Sets
	for _, c := range r.Contents {
		m := p.mapNamed(c.Map)
		if m == nil {
			return fmt.Errorf("contents of map `%s`, which is not there", c.Map)
		}
		key, value := uint64(m.KeySize), uint64(m.ValueSize)
		if len(c.Names) > 0 {
			value = 0
		}
		if key+value == 0 || uint64(c.Entries) > uint64(len(contents))/(key+value) || value == 0 && len(c.Names) != int(c.Entries) {
			return fmt.Errorf("contents of map `%s` are cut short", c.Map)
		}
		m.Contents = make([]ebpf.MapKV, c.Entries)
		for i := range m.Contents {
			m.Contents[i] = ebpf.MapKV{Key: contents[:key:key], Value: contents[key : key+value : key+value]}
			if value == 0 {
				m.Contents[i].Value = c.Names[i]
			}
			contents = contents[key+value:]
		}
	}
	if len(contents) > 0 {
		return fmt.Errorf("%d bytes of contents belong to no map", len(contents))
	}
	return nil
}

// MarshalText gives the target's name.
func (t Target) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (t *Target) UnmarshalText(name []byte) error {
	for _, known := range []Target{Windows, Linux} {
		if known.String() == string(name) {
			*t = known
			return nil
		}
	}
	return fmt.Errorf("no such target: `%s`", name)
}
