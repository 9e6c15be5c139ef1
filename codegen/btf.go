package codegen

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// mapsSection holds BTF-defined maps: empty structs whose types say it all.
const mapsSection = ".maps"

// definitions are the maps of a program as BTF declares them.
type definitions struct {
	vars  *btf.Datasec
	names []string
	int   *btf.Int
}

// mapDefinitions declares the maps in the way of libbpf's __uint and __type
// macros: a number n is a member of type int (*)[n], a type T one of type T *.
func (p *Program) mapDefinitions() (*definitions, error) {
	d := &definitions{
		vars: &btf.Datasec{Name: mapsSection},
		int:  &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
	}
	for _, m := range p.Maps {
		if !isIdentifier(m.Name) || p.mapNamed(m.Name) != m {
			return nil, fmt.Errorf("map name `%s` is no C identifier or not unique", m.Name)
		}
		def, err := d.structure(p.Target, m)
		if err != nil {
			return nil, fmt.Errorf("map `%s`: %w", m.Name, err)
		}
		d.names = append(d.names, m.Name)
		d.vars.Vars = append(d.vars.Vars, btf.VarSecinfo{
			Type:   &btf.Var{Name: m.Name, Type: def, Linkage: btf.GlobalVar},
			Offset: d.vars.Size,
			Size:   def.Size,
		})
		d.vars.Size += def.Size
	}
	return d, nil
}

func (p *Program) mapNamed(name string) *ebpf.MapSpec {
	for _, m := range p.Maps {
		if m.Name == name {
			return m
		}
	}
	return nil
}

func (d *definitions) structure(target Target, m *ebpf.MapSpec) (*btf.Struct, error) {
	platform, kind := splitPlatform(uint32(m.Type))
	if platform != target {
		return nil, fmt.Errorf("type %s is of target %s, the program is for %s", m.Type, platform, target)
	}
	def := &btf.Struct{}
	add := func(name string, t btf.Type) {
		def.Members = append(def.Members, btf.Member{Name: name, Type: t, Offset: btf.Bits(def.Size) * 8})
		def.Size += 8
	}
	number := func(name string, n uint32) {
		if n != 0 {
			add(name, &btf.Pointer{Target: &btf.Array{Index: d.int, Type: d.int, Nelems: n}})
		}
	}
	number("type", kind)
	if m.Key != nil {
		add("key", &btf.Pointer{Target: m.Key})
	} else {
		number("key_size", m.KeySize)
	}
	if m.Value != nil {
		add("value", &btf.Pointer{Target: m.Value})
	} else if m.InnerMap == nil {
		number("value_size", m.ValueSize)
	}
	number("max_entries", m.MaxEntries)
	number("map_flags", m.Flags)
	number("pinning", uint32(m.Pinning))
	if m.MapExtra != 0 {
		return nil, fmt.Errorf("an object cannot carry extra parameters")
	}
	if m.InnerMap != nil {
		inner, err := d.structure(target, m.InnerMap)
		if err != nil {
			return nil, fmt.Errorf("inner map: %w", err)
		}
		def.Members = append(def.Members, btf.Member{
			Name:   "values",
			Type:   &btf.Array{Index: d.int, Type: &btf.Pointer{Target: inner}},
			Offset: btf.Bits(def.Size) * 8,
		})
	}
	return def, nil
}

// marshalBTF gives the contents of .BTF and .BTF.ext: types of maps and functions,
// and which instruction comes from which function and policy line.
func marshalBTF(code []*codeSection, maps *definitions) (types, ext []byte, err error) {
	b, err := btf.NewBuilder(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	if len(maps.vars.Vars) > 0 {
		if _, err := b.Add(maps.vars); err != nil {
			return nil, nil, err
		}
	}
	if called := kernelFunctionsCalled(code); len(called) > 0 {
		if _, err := b.Add(kernelFunctionTypes(called)); err != nil {
			return nil, nil, err
		}
	}
	ids := make([][]btf.TypeID, len(code))
	for i, s := range code {
		for j := range s.functions {
			id, err := b.Add(functionType(&s.functions[j], maps.int))
			if err != nil {
				return nil, nil, err
			}
			ids[i] = append(ids[i], id)
		}
	}
	structures := map[string]btf.TypeID{}
	for _, s := range code {
		if err := s.declareStructures(b, structures); err != nil {
			return nil, nil, err
		}
	}
	types, err = b.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
	if err != nil {
		return nil, nil, err
	}
	return marshalExt(types, code, ids, structures)
}

// declareStructures adds the kernel structures that the code refers to, and puts
// their own numbers where the loader will put the kernel's.
func (s *codeSection) declareStructures(b *btf.Builder, ids map[string]btf.TypeID) error {
	for i := range s.functions {
		f := &s.functions[i]
		for _, r := range f.kernel {
			if _, known := ids[r.structure]; !known {
				structure, _ := r.find()
				id, err := b.Add(structure.localType())
				if err != nil {
					return err
				}
				ids[r.structure] = id
			}
			if r.kind == coreTypeIDTarget {
				binary.LittleEndian.PutUint32(s.data[f.offset+r.offset+4:], uint32(ids[r.structure]))
			}
		}
	}
	return nil
}

// functionType is int NAME(void *ctx) for an entry point. A static function is int
// NAME(void): nobody asks how many arguments it takes. A global one has its type
// with it.
func functionType(f *placedFunction, integer btf.Type) *btf.Func {
	proto := &btf.FuncProto{Return: integer}
	switch global := f.globalType(); {
	case global != nil:
		return global
	case f.local:
		return &btf.Func{Name: f.name, Type: proto, Linkage: btf.StaticFunc}
	}
	proto.Params = []btf.FuncParam{{Name: "ctx", Type: &btf.Pointer{Target: &btf.Void{}}}}
	return &btf.Func{Name: f.name, Type: proto, Linkage: btf.GlobalFunc}
}

// globalType is the type of a global function that is no entry point, else nil.
func (f *placedFunction) globalType() *btf.Func {
	if !f.local || len(f.instructions) == 0 {
		return nil
	}
	if t := btf.FuncMetadata(&f.instructions[0]); t != nil && t.Linkage == btf.GlobalFunc {
		return t
	}
	return nil
}

// asGlobal makes code a global function, which verifiers take once and by itself,
// and not for each call.
func asGlobal(code asm.Instructions, name string, result btf.Type, arguments ...btf.Type) {
	proto := &btf.FuncProto{Return: result}
	for i, t := range arguments {
		proto.Params = append(proto.Params, btf.FuncParam{Name: fmt.Sprintf("n%d", i), Type: t})
	}
	code[0] = btf.WithFuncMetadata(code[0].WithSymbol(name), &btf.Func{Name: name, Type: proto, Linkage: btf.GlobalFunc})
}
