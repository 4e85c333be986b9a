#include "kernel.h"

#include "files.h"
#include "firmware.h"
#include "guard.h"

static const efi_guid loaded_image_guid = EFI_LOADED_IMAGE_GUID;
static const efi_guid load_file_guid = EFI_LOAD_FILE2_GUID;
static const efi_guid device_path_guid = EFI_DEVICE_PATH_GUID;
static const size_t kernel_bytes_max = 256UL << 20, initrd_bytes_max = 2048UL << 20;

/** The vendor device path under which Linux (since 5.7) asks for its initrd. */
static const struct {
  efi_device_path vendor;
  efi_guid guid;
  efi_device_path end;
} initrd_path = {
    {4, 3, {20, 0}},
    LINUX_INITRD_MEDIA_GUID,
    {0x7f, 0xff, {4, 0}},
};

static struct {
  efi_load_file2 protocol;
  struct file_content content;
  efi_handle handle;
} initrd;

static efi_status give_initrd(efi_load_file2 *self, efi_device_path *path, bool boot_policy,
                              size_t *bytes, void *buffer) {
  (void)self;
  (void)path;
  if (boot_policy) return EFI_UNSUPPORTED;
  size_t needed = initrd.content.count;
  bool fits = buffer != NULL && *bytes >= needed;
  *bytes = needed;
  if (!fits) return EFI_BUFFER_TOO_SMALL;
  firmware_boot->copy_memory(buffer, initrd.content.bytes, needed);
  return EFI_SUCCESS;
}

static efi_status offer_initrd(void) {
  initrd.protocol.load_file = give_initrd;
  initrd.handle = NULL;
  efi_status status = firmware_boot->install_protocol(&initrd.handle, &device_path_guid, 0,
                                                      (void *)(uintptr_t)&initrd_path);
  if (efi_failed(status)) return status;
  return firmware_boot->install_protocol(&initrd.handle, &load_file_guid, 0, &initrd.protocol);
}

static void withdraw_initrd(void) {
  if (initrd.handle != NULL) {
    firmware_boot->uninstall_protocol(initrd.handle, &load_file_guid, &initrd.protocol);
    firmware_boot->uninstall_protocol(initrd.handle, &device_path_guid,
                                      (void *)(uintptr_t)&initrd_path);
    initrd.handle = NULL;
  }
  files_free(&initrd.content);
}

static efi_status set_options(efi_handle image, const char *options) {
  static efi_char text[config_options_bytes];
  efi_loaded_image *loaded = NULL;
  efi_status status = firmware_boot->handle_protocol(image, &loaded_image_guid, (void **)&loaded);
  if (efi_failed(status)) return status;
  size_t count = 0;
  for (; options[count] != 0; count += 1) text[count] = (efi_char)options[count];
  text[count] = 0;
  loaded->load_options = text;
  loaded->load_options_bytes = (uint32_t)((count + 1) * sizeof text[0]);
  return EFI_SUCCESS;
}

static efi_status failed(const char *what, const char *path, efi_status status) {
  say("cannot %s %s (status %x)", what, path, status);
  return status;
}

static efi_status load_initrd(const struct config *config, const struct config_slot *slot) {
  if (slot->initrd[0] == 0) return EFI_SUCCESS;
  guard_step(config, "load_initrd");
  efi_status status = files_read(slot->initrd, initrd_bytes_max, guard_progress, &initrd.content);
  if (!efi_failed(status)) status = offer_initrd();
  if (efi_failed(status)) return failed("load", slot->initrd, status);
  guard_done("load_initrd");
  return EFI_SUCCESS;
}

static efi_status start(const struct config *config, const struct config_slot *slot,
                        efi_handle image) {
  efi_status status = set_options(image, slot->options);
  if (!efi_failed(status) && !guard_prepare_hand_off(config->lock)) status = EFI_OUT_OF_RESOURCES;
  if (efi_failed(status)) return failed("prepare", slot->kernel, status);
  guard_step(config, "start_kernel");
  guard_done("start_kernel");
  status = firmware_boot->start_image(image, NULL, NULL);
  return failed("start", slot->kernel, status);
}

efi_status kernel_boot(const struct config *config, const struct config_slot *slot) {
  struct file_content kernel;
  guard_step(config, "load_kernel");
  efi_status status = files_read(slot->kernel, kernel_bytes_max, guard_progress, &kernel);
  if (efi_failed(status)) return failed("load", slot->kernel, status);
  guard_done("load_kernel");
  status = load_initrd(config, slot);
  efi_handle image = NULL;
  if (!efi_failed(status)) {
    guard_step(config, "verify");
    status = files_load_image(&kernel, &image);
    if (efi_failed(status))
      failed("verify", slot->kernel, status);
    else
      guard_done("verify");
  }
  files_free(&kernel);
  if (!efi_failed(status)) status = start(config, slot, image);
  withdraw_initrd();
  return efi_failed(status) ? status : EFI_LOAD_ERROR;
}
