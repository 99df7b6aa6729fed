"""Users and groups in the theme's clothes."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.models import Group, User

from venue_images.admin.tables import THEMED, ModelAdmin


def _dress_people() -> None:
    """Give users and groups the theme's forms, unless the site around has its own admin for them."""
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm  # noqa: PLC0415 - only with unfold

    class UserAdmin(auth_admin.UserAdmin, ModelAdmin):  # type: ignore[type-arg]
        form = UserChangeForm
        add_form = UserCreationForm
        change_password_form = AdminPasswordChangeForm

    class GroupAdmin(auth_admin.GroupAdmin, ModelAdmin):
        pass

    dressed = ((User, auth_admin.UserAdmin, UserAdmin), (Group, auth_admin.GroupAdmin, GroupAdmin))
    for model, plain, themed in dressed:
        if admin.site.is_registered(model) and type(admin.site.get_model_admin(model)) is plain:
            admin.site.unregister(model)
            admin.site.register(model, themed)


if THEMED:
    _dress_people()
