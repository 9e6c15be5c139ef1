package runtime

import (
	"encoding/binary"
	"fmt"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// becomeEngine puts the engine, with its first table, in the place of a program of form
// code.
func (k *Kernel) becomeEngine(t *codegen.Table) error {
	engine, err := codegen.GenerateEngine(codegen.Linux)
	if err != nil {
		return err
	}
	return k.locked(func() error { return k.replace(engine, t) })
}

// putTable loads a table into an engine, with the sets that the policies before have had;
// the program is the engine with what the table describes.
func (k *Kernel) putTable(l *loaded, t *codegen.Table, program *codegen.Program) error {
	before, base, err := k.setsInForce()
	if err != nil {
		return err
	}
	if before != nil {
		defer before.Close()
	}
	with, err := loading(t, k.state.Network)
	if err != nil {
		return err
	}
	with.Sets, err = keptTables(t, program.Sets, &k.pinned, before, base)
	if err != nil {
		return err
	}
	if err := LoadTable(l.tables(), t, with); err != nil {
		return fmt.Errorf("%w: the policy's table: %w", ErrKernel, err)
	}
	k.bound = with.Interfaces
	k.problem(l.know(program))
	return nil
}

// loading looks up the interfaces that a table names.
func loading(t *codegen.Table, network uint64) (with codegen.TableLoading, err error) {
	if !t.NamesInterfaces() {
		return with, nil
	}
	about, err := t.Description()
	if err != nil {
		return with, err
	}
	with.Network = network
	with.Interfaces, err = findInterfaces(about.Interfaces)
	return with, err
}

func loadingHere(t *codegen.Table) (codegen.TableLoading, error) {
	network, err := NetworkCookie()
	if err != nil {
		return codegen.TableLoading{}, err
	}
	return loading(t, network)
}

// bindTable writes the interfaces of the table in force, which whoever has loaded it may
// have looked up in another namespace.
func (l *loaded) bindTable(found []uint32, network uint64) error {
	inner, err := l.tables().inner(compiler.Connect)
	if inner == nil {
		return err
	}
	defer inner.Close()
	var parts []codegen.TablePart
	for i, index := range found {
		parts = append(parts, codegen.TablePart{At: codegen.TableIfindexAt(i), Data: binary.LittleEndian.AppendUint32(nil, index)})
	}
	parts = append(parts, codegen.TablePart{At: codegen.TableNetworkAt, Data: binary.LittleEndian.AppendUint64(nil, network)})
	return writeParts(inner, parts)
}
