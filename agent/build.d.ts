/** What build.mjs writes into every bundle. */

/** The version in package.json. */
declare const __VERSION__: string;
/** The folder of native files, relative to the bundle. */
declare const __NATIVE_DIR__: string;
