package windows

import (
	"fmt"
	"net"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// Interfaces of this host are found by each of their names, others are absent.
func TestFindInterfaces(t *testing.T) {
	all, err := net.Interfaces()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	row := windows.MibIfRow2{InterfaceIndex: uint32(all[0].Index)}
	require.NoError(t, windows.GetIfEntry2Ex(windows.MibIfEntryNormal, &row))
	guid := row.InterfaceGuid.String()
	named := func(kind, value string) []*compiler.NamedInterface {
		return []*compiler.NamedInterface{{Name: "vpn", Kind: kind, Value: value}}
	}
	for _, n := range [][]*compiler.NamedInterface{
		named("alias", windows.UTF16ToString(row.Alias[:])),
		named("guid", guid),
		named("guid", guid[1:len(guid)-1]),
		named("name", luidName(t, row.InterfaceLuid)),
		named("luid", fmt.Sprintf("%#x", row.InterfaceLuid)),
	} {
		found, err := runtime.FindInterfaces(n)
		require.NoError(t, err, *n[0])
		require.Equal(t, map[string]uint64{"vpn": row.InterfaceLuid}, found, *n[0])
	}
	for _, n := range [][]*compiler.NamedInterface{
		named("alias", "no such interface"),
		named("guid", "6076c13a-f04f-4ff8-8380-908553f22276"),
		named("name", "nosuch_1"),
	} {
		found, err := runtime.FindInterfaces(n)
		require.NoError(t, err, *n[0])
		require.Equal(t, map[string]uint64{"vpn": 0}, found, *n[0])
	}
	_, err = runtime.FindInterfaces(named("alias", "a\x00b"))
	require.ErrorContains(t, err, "interface `vpn`: alias `a\x00b`:")
}

// luidName is the name of an interface such as ethernet_32773.
func luidName(t *testing.T, luid uint64) string {
	var name [256]uint16
	code, _, _ := windows.NewLazySystemDLL("iphlpapi.dll").NewProc("ConvertInterfaceLuidToNameW").
		Call(uintptr(unsafe.Pointer(&luid)), uintptr(unsafe.Pointer(&name)), uintptr(len(name)))
	require.Zero(t, code)
	return windows.UTF16ToString(name[:])
}

// A subscription is made and ended, and calls until it is ended.
func TestFollowInterfaces(t *testing.T) {
	called := make(chan struct{}, 16)
	changes, err := runtime.FollowInterfaces(func() { called <- struct{}{} })
	require.NoError(t, err)
	<-called // by polling, if nothing else
	require.NoError(t, changes.Close())
	for len(called) > 0 {
		<-called
	}
}
