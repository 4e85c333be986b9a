/**
 * The part of UEFI that Kennel calls, declared from the UEFI Specification 2.10; chapter numbers
 * are given where a structure begins. Members that are not called are `void *` of the same size.
 * The compiler's Windows target has the calling convention of UEFI already.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t efi_status;
typedef void *efi_handle;
typedef void *efi_event;
typedef uint16_t efi_char;
typedef uint64_t efi_tpl;

typedef struct {
  uint32_t a;
  uint16_t b;
  uint16_t c;
  uint8_t d[8];
} efi_guid;

/* Appendix D: status codes; errors have the highest bit set. */
#define EFI_ERROR_BIT (1ULL << 63)
#define EFI_SUCCESS 0ULL
#define EFI_LOAD_ERROR (EFI_ERROR_BIT | 1)
#define EFI_INVALID_PARAMETER (EFI_ERROR_BIT | 2)
#define EFI_UNSUPPORTED (EFI_ERROR_BIT | 3)
#define EFI_BUFFER_TOO_SMALL (EFI_ERROR_BIT | 5)
#define EFI_NOT_READY (EFI_ERROR_BIT | 6)
#define EFI_DEVICE_ERROR (EFI_ERROR_BIT | 7)
#define EFI_OUT_OF_RESOURCES (EFI_ERROR_BIT | 9)
#define EFI_NOT_FOUND (EFI_ERROR_BIT | 14)
#define EFI_ALREADY_STARTED (EFI_ERROR_BIT | 20)

static inline bool efi_failed(efi_status status) { return (status & EFI_ERROR_BIT) != 0; }

/* 4.2 */
typedef struct {
  uint64_t signature;
  uint32_t revision;
  uint32_t header_bytes;
  uint32_t crc32;
  uint32_t reserved;
} efi_table_header;

/* 12.3, 12.4: console */
typedef struct {
  uint16_t scan_code;
  efi_char character;
} efi_input_key;

typedef struct efi_text_input {
  void *reset;
  efi_status (*read_key)(struct efi_text_input *self, efi_input_key *key);
  efi_event wait_for_key;
} efi_text_input;

typedef struct efi_text_output {
  void *reset;
  efi_status (*output_string)(struct efi_text_output *self, const efi_char *text);
} efi_text_output;

/* 7.1: priorities and events */
#define TPL_APPLICATION 4ULL
#define TPL_CALLBACK 8ULL
#define TPL_NOTIFY 16ULL
#define TPL_HIGH_LEVEL 31ULL
#define EVT_NOTIFY_SIGNAL 0x00000200U
#define EVT_SIGNAL_EXIT_BOOT_SERVICES 0x00000201U

typedef void (*efi_event_notify)(efi_event event, void *context);

/* 7.2 */
typedef enum { EFI_LOADER_CODE = 1, EFI_LOADER_DATA = 2, EFI_BOOT_DATA = 4 } efi_memory_type;
typedef enum { EFI_ALLOCATE_ANY_PAGES = 0 } efi_allocate_type;

/* 7.3 */
#define EFI_OPEN_GET_PROTOCOL 2U
typedef enum { EFI_ALL_HANDLES = 0, EFI_BY_REGISTER = 1, EFI_BY_PROTOCOL = 2 } efi_search;

/* 4.4 */
typedef struct {
  efi_table_header header;
  efi_tpl (*raise_tpl)(efi_tpl tpl);
  void (*restore_tpl)(efi_tpl tpl);
  efi_status (*allocate_pages)(efi_allocate_type how, efi_memory_type type, size_t pages,
                               uint64_t *address);
  efi_status (*free_pages)(uint64_t address, size_t pages);
  efi_status (*get_memory_map)(size_t *bytes, void *map, size_t *key, size_t *entry_bytes,
                               uint32_t *version);
  efi_status (*allocate_pool)(efi_memory_type type, size_t bytes, void **buffer);
  efi_status (*free_pool)(void *buffer);
  efi_status (*create_event)(uint32_t type, efi_tpl tpl, efi_event_notify notify, void *context,
                             efi_event *event);
  void *set_timer;
  void *wait_for_event;
  void *signal_event;
  efi_status (*close_event)(efi_event event);
  void *check_event;
  efi_status (*install_protocol)(efi_handle *handle, const efi_guid *protocol, uint32_t native,
                                 void *interface);
  void *reinstall_protocol;
  efi_status (*uninstall_protocol)(efi_handle handle, const efi_guid *protocol, void *interface);
  efi_status (*handle_protocol)(efi_handle handle, const efi_guid *protocol, void **interface);
  void *reserved;
  efi_status (*register_protocol_notify)(const efi_guid *protocol, efi_event event,
                                         void **registration);
  void *locate_handle;
  void *locate_device_path;
  void *install_configuration_table;
  efi_status (*load_image)(bool boot_policy, efi_handle parent, void *path, void *source,
                           size_t source_bytes, efi_handle *image);
  efi_status (*start_image)(efi_handle image, size_t *exit_bytes, efi_char **exit_data);
  void *exit;
  efi_status (*unload_image)(efi_handle image);
  efi_status (*exit_boot_services)(efi_handle image, size_t map_key);
  efi_status (*get_next_monotonic_count)(uint64_t *count);
  efi_status (*stall)(size_t microseconds);
  efi_status (*set_watchdog_timer)(size_t seconds, uint64_t code, size_t bytes, efi_char *data);
  void *connect_controller;
  void *disconnect_controller;
  void *open_protocol;
  void *close_protocol;
  void *open_protocol_information;
  void *protocols_per_handle;
  efi_status (*locate_handle_buffer)(efi_search how, const efi_guid *protocol, void *key,
                                     size_t *count, efi_handle **handles);
  efi_status (*locate_protocol)(const efi_guid *protocol, void *registration, void **interface);
  void *install_protocols;
  void *uninstall_protocols;
  void *calculate_crc32;
  void (*copy_memory)(void *to, const void *from, size_t bytes);
} efi_boot_services;

/* 8.2: variables */
#define EFI_VARIABLE_NON_VOLATILE 1U
#define EFI_VARIABLE_BOOTSERVICE_ACCESS 2U
#define EFI_VARIABLE_RUNTIME_ACCESS 4U

typedef struct {
  uint16_t year;
  uint8_t month, day, hour, minute, second, pad1;
  uint32_t nanosecond;
  int16_t time_zone;
  uint8_t daylight, pad2;
} efi_time;

typedef enum { EFI_RESET_COLD = 0 } efi_reset_type;

/* 4.5 */
typedef struct {
  efi_table_header header;
  efi_status (*get_time)(efi_time *time, void *capabilities);
  void *set_time;
  void *get_wakeup_time;
  void *set_wakeup_time;
  void *set_virtual_address_map;
  void *convert_pointer;
  efi_status (*get_variable)(const efi_char *name, const efi_guid *vendor, uint32_t *attributes,
                             size_t *bytes, void *data);
  void *get_next_variable_name;
  efi_status (*set_variable)(const efi_char *name, const efi_guid *vendor, uint32_t attributes,
                             size_t bytes, const void *data);
  void *get_next_high_monotonic_count;
  void (*reset_system)(efi_reset_type type, efi_status status, size_t bytes, void *data);
} efi_runtime_services;

/* 4.6 */
typedef struct {
  efi_guid vendor;
  void *table;
} efi_configuration_table;

/* 4.3 */
typedef struct {
  efi_table_header header;
  efi_char *firmware_vendor;
  uint32_t firmware_revision;
  efi_handle console_in_handle;
  efi_text_input *console_in;
  efi_handle console_out_handle;
  efi_text_output *console_out;
  efi_handle standard_error_handle;
  efi_text_output *standard_error;
  efi_runtime_services *runtime;
  efi_boot_services *boot;
  size_t table_entries;
  efi_configuration_table *tables;
} efi_system_table;

/* 9.1 */
#define EFI_LOADED_IMAGE_GUID                                                      \
  {                                                                                \
    0x5b1b31a1, 0x9562, 0x11d2, { 0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b } \
  }
typedef struct {
  uint32_t revision;
  efi_handle parent;
  efi_system_table *system;
  efi_handle device;
  void *file_path;
  void *reserved;
  uint32_t load_options_bytes;
  void *load_options;
  void *image_base;
  uint64_t image_bytes;
  efi_memory_type code_type;
  efi_memory_type data_type;
  void *unload;
} efi_loaded_image;

/* 10.2, 10.3: device paths; every node begins with this */
#define EFI_DEVICE_PATH_GUID                                                       \
  {                                                                                \
    0x09576e91, 0x6d3f, 0x11d2, { 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b } \
  }
typedef struct {
  uint8_t type;
  uint8_t sub_type;
  uint8_t bytes[2];
} efi_device_path;

/* 13.4, 13.5: files */
#define EFI_SIMPLE_FILE_SYSTEM_GUID                                                \
  {                                                                                \
    0x964e5b22, 0x6459, 0x11d2, { 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b } \
  }
#define EFI_FILE_MODE_READ 1ULL
#define EFI_FILE_END UINT64_MAX

typedef struct efi_file {
  uint64_t revision;
  efi_status (*open)(struct efi_file *self, struct efi_file **opened, const efi_char *name,
                     uint64_t mode, uint64_t attributes);
  efi_status (*close)(struct efi_file *self);
  void *delete;
  efi_status (*read)(struct efi_file *self, size_t *bytes, void *buffer);
  void *write;
  efi_status (*get_position)(struct efi_file *self, uint64_t *position);
  efi_status (*set_position)(struct efi_file *self, uint64_t position);
} efi_file;

typedef struct efi_file_system {
  uint64_t revision;
  efi_status (*open_volume)(struct efi_file_system *self, efi_file **root);
} efi_file_system;

/* 13.2: Linux asks a LoadFile2 on this vendor device path for its initrd. */
#define EFI_LOAD_FILE2_GUID                                                        \
  {                                                                                \
    0x4006c0c1, 0xfcb3, 0x403e, { 0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d } \
  }
#define LINUX_INITRD_MEDIA_GUID                                                    \
  {                                                                                \
    0x5568e427, 0x68fc, 0x4f3d, { 0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68 } \
  }
typedef struct efi_load_file2 {
  efi_status (*load_file)(struct efi_load_file2 *self, efi_device_path *path, bool boot_policy,
                          size_t *bytes, void *buffer);
} efi_load_file2;

/* 14.4: PCI; a BAR index of 0xff means an address of the bus itself. */
#define EFI_PCI_IO_GUID                                                            \
  {                                                                                \
    0x4cf5b200, 0x68b8, 0x4ca5, { 0x9e, 0xec, 0xb2, 0x3e, 0x3f, 0x50, 0x02, 0x9a } \
  }
#define EFI_PCI_BAR_NONE 0xffU
#define EFI_PCI_ATTRIBUTE_IO 0x0100ULL
#define EFI_PCI_ATTRIBUTE_MEMORY 0x0200ULL
typedef enum { EFI_PCI_ENABLE = 2 } efi_pci_operation;
typedef enum { EFI_WIDTH_8 = 0, EFI_WIDTH_16 = 1, EFI_WIDTH_32 = 2 } efi_pci_width;

typedef struct efi_pci_io efi_pci_io;
typedef efi_status (*efi_pci_bar_access)(efi_pci_io *self, efi_pci_width width, uint8_t bar,
                                         uint64_t offset, size_t count, void *buffer);
typedef efi_status (*efi_pci_config_access)(efi_pci_io *self, efi_pci_width width, uint32_t offset,
                                            size_t count, void *buffer);
struct efi_pci_io {
  void *poll_memory;
  void *poll_io;
  efi_pci_bar_access memory_read, memory_write;
  efi_pci_bar_access io_read, io_write;
  efi_pci_config_access config_read, config_write;
  void *copy, *map, *unmap, *allocate_buffer, *free_buffer, *flush, *get_location;
  efi_status (*attributes)(efi_pci_io *self, efi_pci_operation operation, uint64_t attributes,
                           uint64_t *result);
};

/* 4.6.1: where the ACPI tables are */
#define EFI_ACPI_20_TABLE_GUID                                                     \
  {                                                                                \
    0x8868e871, 0xe4f1, 0x11d3, { 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81 } \
  }
