#include "memory.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace kennel {

namespace {

const char kOwnAddress = 0;

bool StartsWith(const char* text, const char* prefix) {
  return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool Holds(const dl_phdr_info* object, uintptr_t address) {
  for (int index = 0; index < object->dlpi_phnum; index++) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[index];
    const uintptr_t start = object->dlpi_addr + segment.p_vaddr;
    if (segment.p_type != PT_LOAD) continue;
    if (address >= start && address < start + segment.p_memsz) return true;
  }
  return false;
}

// By name and not by the address of a function: in an executable that is not position-independent
// such an address may be the executable's own jump table.
bool Wanted(const dl_phdr_info* object) {
  const char* slash = strrchr(object->dlpi_name, '/');
  const char* name = slash == nullptr ? object->dlpi_name : slash + 1;
  const char* const libraries[] = {"libc.so", "libc-", "libc.musl", "libpthread", "ld-", "ld.so"};
  for (const char* library : libraries) {
    if (StartsWith(name, library)) return true;
  }
  return Holds(object, reinterpret_cast<uintptr_t>(&kOwnAddress));
}

int LockObject(dl_phdr_info* object, size_t, void* data) {
  if (!Wanted(object)) return 0;
  auto* result = static_cast<LockResult*>(data);
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int index = 0; index < object->dlpi_phnum; index++) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[index];
    // Segments without any permission are padding and cannot be locked.
    if (segment.p_type != PT_LOAD || segment.p_flags == 0) continue;
    const uintptr_t start = (object->dlpi_addr + segment.p_vaddr) & ~(page - 1);
    const uintptr_t end =
        (object->dlpi_addr + segment.p_vaddr + segment.p_memsz + page - 1) & ~(page - 1);
    if (mlock(reinterpret_cast<void*>(start), end - start) == 0) {
      result->bytes += end - start;
    } else if (result->error == 0) {
      result->error = errno;
    }
  }
  return 0;
}

}  // namespace

LockResult LockOwnCode() {
  static const LockResult result = [] {
    LockResult locked;
    dl_iterate_phdr(LockObject, &locked);
    return locked;
  }();
  return result;
}

}  // namespace kennel
