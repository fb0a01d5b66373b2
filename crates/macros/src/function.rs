//! From an annotated function to the item that takes its place.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, ItemFn, Lit, LitBool, LitStr, Meta, MetaNameValue, Pat,
    PatType, Result, Token, Type,
};

/// What the function becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tool,
    Prompt,
    Resource,
}

#[derive(Default)]
struct Options {
    uri: Option<LitStr>,
    name: Option<LitStr>,
    title: Option<LitStr>,
    description: Option<LitStr>,
    mime_type: Option<LitStr>,
    subscribable: bool,
    blocking: bool,
    single_use: bool,
    hints: Vec<(&'static str, LitBool)>,
    task: Option<LitStr>,
}

/// A parameter that the server fills in, or an argument of the caller.
enum Parameter {
    Given(Box<Type>),
    Argument {
        attributes: Vec<Attribute>,
        name: syn::Ident,
        kind: Box<Type>,
    },
}

pub(crate) fn expand(kind: Kind, options: TokenStream, item: TokenStream) -> TokenStream {
    match try_expand(kind, options, item) {
        Ok(tokens) => tokens,
        Err(error) => error.to_compile_error(),
    }
}

fn try_expand(kind: Kind, options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut function: ItemFn = syn::parse2(item)?;
    let options = parse_options(kind, options)?;
    if let Some(generics) = function.sig.generics.params.first() {
        return Err(Error::new(
            generics.span(),
            "a handler has no generic parameters: its schema must be known",
        ));
    }
    if options.blocking && function.sig.asyncness.is_some() {
        return Err(Error::new(
            function.sig.span(),
            "`blocking` is for a plain `fn`; an `async fn` must not block",
        ));
    }
    let parameters = take_parameters(&mut function)?;
    let visibility = function.vis.clone();
    let name = function.sig.ident.clone();
    let documentation = documentation(&function.attrs);
    let docs: Vec<Attribute> = function
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
        .cloned()
        .collect();
    let arguments = arguments_struct(&parameters);
    let handler = handler(&options, &function, &parameters);
    let registration = registration(kind, &options, &name, documentation.as_deref(), &handler);
    function.sig.ident = syn::Ident::new("call", name.span());
    let product = match kind {
        Kind::Tool => quote!(ServerTool),
        Kind::Prompt => quote!(ServerPrompt),
        Kind::Resource => quote!(ResourceOrTemplate),
    };
    // The type has the name without a value, the function has it as a value: so a variable of the
    // same name is still possible everywhere.
    Ok(quote! {
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code)]
        #visibility enum #name {}

        impl #name {
            #[allow(
                clippy::needless_pass_by_value,
                clippy::too_many_arguments,
                clippy::unused_async,
                dead_code,
                missing_docs
            )]
            #function
        }

        #(#docs)*
        #visibility fn #name() -> ::compere::#product {
            #arguments

            #registration
        }
    })
}

fn parse_options(kind: Kind, tokens: TokenStream) -> Result<Options> {
    let mut options = Options::default();
    let parsed = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(tokens)?;
    for expression in parsed {
        if let Expr::Lit(ExprLit {
            lit: Lit::Str(uri), ..
        }) = &expression
            && kind == Kind::Resource
            && options.uri.is_none()
        {
            options.uri = Some(uri.clone());
            continue;
        }
        let meta: Meta = syn::parse2(expression.to_token_stream())?;
        set_option(kind, &mut options, &meta)?;
    }
    if kind == Kind::Resource && options.uri.is_none() {
        return Err(Error::new(
            proc_macro2::Span::call_site(),
            "a resource needs its URI: #[resource(\"scheme:///path/{variable}\")]",
        ));
    }
    Ok(options)
}

fn set_option(kind: Kind, options: &mut Options, meta: &Meta) -> Result<()> {
    let name = meta
        .path()
        .get_ident()
        .map(ToString::to_string)
        .unwrap_or_default();
    match (name.as_str(), kind) {
        ("name", _) => options.name = Some(text(meta)?),
        ("title", _) => options.title = Some(text(meta)?),
        ("description", _) => options.description = Some(text(meta)?),
        ("mime_type", Kind::Resource) => options.mime_type = Some(text(meta)?),
        ("subscribable", Kind::Resource) => options.subscribable = flag(meta)?.value,
        ("blocking", Kind::Tool) => options.blocking = flag(meta)?.value,
        ("single_use", Kind::Tool) => options.single_use = flag(meta)?.value,
        ("task", Kind::Tool) => options.task = Some(text(meta)?),
        ("read_only", Kind::Tool) => options.hints.push(("read_only_hint", flag(meta)?)),
        ("destructive", Kind::Tool) => options.hints.push(("destructive_hint", flag(meta)?)),
        ("idempotent", Kind::Tool) => options.hints.push(("idempotent_hint", flag(meta)?)),
        ("open_world", Kind::Tool) => options.hints.push(("open_world_hint", flag(meta)?)),
        _ => {
            return Err(Error::new(
                meta.span(),
                format!("there is no option `{name}` here"),
            ));
        }
    }
    Ok(())
}

fn text(meta: &Meta) -> Result<LitStr> {
    match meta {
        Meta::NameValue(MetaNameValue {
            value:
                Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }),
            ..
        }) => Ok(text.clone()),
        _ => Err(Error::new(meta.span(), "expected a text: `option = \"…\"`")),
    }
}

fn flag(meta: &Meta) -> Result<LitBool> {
    match meta {
        Meta::Path(path) => Ok(LitBool::new(true, path.span())),
        Meta::NameValue(MetaNameValue {
            value:
                Expr::Lit(ExprLit {
                    lit: Lit::Bool(value),
                    ..
                }),
            ..
        }) => Ok(value.clone()),
        _ => Err(Error::new(
            meta.span(),
            "expected `option` or `option = true`",
        )),
    }
}

/// Takes the parameters apart and leaves the function without their attributes.
fn take_parameters(function: &mut ItemFn) -> Result<Vec<Parameter>> {
    function
        .sig
        .inputs
        .iter_mut()
        .map(|input| match input {
            FnArg::Receiver(receiver) => Err(Error::new(
                receiver.span(),
                "a handler is a free function; share values with `State<T>`",
            )),
            FnArg::Typed(parameter) => take_parameter(parameter),
        })
        .collect()
}

fn take_parameter(parameter: &mut PatType) -> Result<Parameter> {
    let attributes = std::mem::take(&mut parameter.attrs);
    if is_given(&parameter.ty) {
        return Ok(Parameter::Given(parameter.ty.clone()));
    }
    let Pat::Ident(name) = &*parameter.pat else {
        return Err(Error::new(
            parameter.pat.span(),
            "an argument needs a plain name; patterns are for State, Args and the like",
        ));
    };
    Ok(Parameter::Argument {
        attributes,
        name: name.ident.clone(),
        kind: parameter.ty.clone(),
    })
}

/// Is this one of the types that the server gives? Known by its name, as in `Context` or
/// `compere::State<Database>`.
fn is_given(kind: &Type) -> bool {
    let Type::Path(path) = kind else {
        return false;
    };
    path.path.segments.last().is_some_and(|segment| {
        ["Context", "State", "Args", "RawArgs", "Uri", "Variables"]
            .iter()
            .any(|given| segment.ident == given)
    })
}

fn documentation(attributes: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(MetaNameValue {
                value:
                    Expr::Lit(ExprLit {
                        lit: Lit::Str(line),
                        ..
                    }),
                ..
            }) => Some(line.value()),
            _ => None,
        })
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned())
        .collect();
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn arguments_struct(parameters: &[Parameter]) -> TokenStream {
    let fields: Vec<TokenStream> = parameters
        .iter()
        .filter_map(|parameter| match parameter {
            Parameter::Given(_) => None,
            Parameter::Argument {
                attributes,
                name,
                kind,
            } => Some(quote! { #(#attributes)* #name: #kind, }),
        })
        .collect();
    if fields.is_empty() {
        return TokenStream::new();
    }
    quote! {
        #[derive(::compere::serde::Deserialize, ::compere::schemars::JsonSchema)]
        #[serde(crate = "::compere::serde")]
        #[schemars(crate = "::compere::schemars")]
        struct Arguments {
            #(#fields)*
        }
    }
}

/// A closure over the extractors that calls the function with its parameters in order.
fn handler(options: &Options, function: &ItemFn, parameters: &[Parameter]) -> TokenStream {
    let name = &function.sig.ident;
    let mut inputs = Vec::new();
    let mut values = Vec::new();
    let mut has_arguments = false;
    for (index, parameter) in parameters.iter().enumerate() {
        match parameter {
            Parameter::Given(kind) => {
                let given = quote::format_ident!("given_{index}");
                inputs.push(quote!(#given: #kind));
                values.push(quote!(#given));
            }
            Parameter::Argument { name, .. } => {
                has_arguments = true;
                values.push(quote!(arguments.#name));
            }
        }
    }
    if has_arguments {
        inputs.push(quote!(::compere::Args(arguments): ::compere::Args<Arguments>));
    }
    let call = quote!(#name::call(#(#values),*));
    let body = match (options.blocking, function.sig.asyncness.is_some()) {
        (true, _) => quote!(::compere::server::blocking(move || #call).await),
        (false, true) => quote!(#call.await),
        (false, false) => call,
    };
    quote!(|#(#inputs),*| async move { #body })
}

fn registration(
    kind: Kind,
    options: &Options,
    function: &syn::Ident,
    documentation: Option<&str>,
    handler: &TokenStream,
) -> TokenStream {
    let name = options
        .name
        .as_ref()
        .map_or_else(|| function.to_string(), LitStr::value);
    let description = options
        .description
        .as_ref()
        .map(LitStr::value)
        .or_else(|| documentation.map(str::to_owned))
        .map(|text| quote!(.description(#text)));
    let title = options.title.as_ref().map(|title| quote!(.title(#title)));
    match kind {
        Kind::Tool => {
            let hints = annotations(&options.hints);
            let task = task_support(options.task.as_ref());
            let single_use = options.single_use.then(|| quote!(.single_use()));
            quote! {
                ::compere::tool_fn(#name, #handler) #description #title #hints #task #single_use
            }
        }
        Kind::Prompt => quote!(::compere::prompt_fn(#name, #handler) #description #title),
        Kind::Resource => {
            let uri = options.uri.as_ref().map(LitStr::value).unwrap_or_default();
            let mime_type = options
                .mime_type
                .as_ref()
                .map(|mime_type| quote!(.mime_type(#mime_type)));
            let subscribable = options.subscribable.then(|| quote!(.subscribable()));
            let make = if uri.contains('{') {
                quote!(template_fn)
            } else {
                quote!(resource_fn)
            };
            quote! {
                ::compere::IntoResource::into_resource(
                    ::compere::#make(#uri, #name, #handler)
                        #description #title #mime_type #subscribable
                )
            }
        }
    }
}

fn task_support(task: Option<&LitStr>) -> TokenStream {
    let Some(task) = task else {
        return TokenStream::new();
    };
    let support = match task.value().as_str() {
        "optional" => quote!(Optional),
        "required" => quote!(Required),
        _ => {
            return Error::new(task.span(), "a task is \"optional\" or \"required\"")
                .to_compile_error();
        }
    };
    quote!(.task_support(::compere::model::TaskSupport::#support))
}

fn annotations(hints: &[(&'static str, LitBool)]) -> TokenStream {
    if hints.is_empty() {
        return TokenStream::new();
    }
    let setters = hints.iter().map(|(hint, value)| {
        let hint = quote::format_ident!("{hint}");
        quote!(.#hint(#value))
    });
    quote!(.annotations(::compere::model::ToolAnnotations::new() #(#setters)*))
}
